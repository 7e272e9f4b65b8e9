"""Streams the latest rows of a dataset: for each id the row of its newest state, without ids that are gone.

In: a dataset that many runs wrote to. Out: its current rows as a stream. An outcome that a run records for an id (a
row, a quarantined record, or a tombstone of a run over the whole catalog) replaces those of earlier runs. So

- an id whose newest state is in quarantine has no row here: its older embedding belongs to an image that changed since;
- a change that is planned but not committed has no effect yet: the previous row stays;
- a state that was embedded once keeps its row, even if a later attempt at the same state went to quarantine.

The first pass reads keys and selects rows; the second reads the selected rows, a few files at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from pipeline.dataset.dataset import Dataset
from pipeline.dataset.outcomes import Outcome, OutcomeFile, RowNumbers, gather, read_rows, tables_behind
from pipeline.dataset.scan import RUN_DATE, choose
from pipeline.dataset.schema import conform
from pipeline.scratch.passes import IdPasses
from pipeline.scratch.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Latest:
    """The current rows: their number, and a reader that can be consumed once."""

    rows: int
    reader: pa.RecordBatchReader


def latest(out: str, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
    """The current rows of the dataset at `out`, with `run_date`; `columns` limits the others.

    The rows are selected before this returns and read while the reader is consumed. Then its scratch folder is removed.

    Raises:
        IdentityError: there is no dataset.
        StorageError, RunError: it cannot be read; the reader raises them too.
    """
    return find_latest(out, columns).reader


def find_latest(out: str, columns: Sequence[str] | None = None) -> Latest:
    """The current rows as `latest` returns them, with their number."""
    dataset = Dataset.open(out)
    schema = choose(dataset.identity.schema, columns).append(RUN_DATE)
    batches = _batches(dataset, schema)
    [rows] = next(batches)["rows"].to_pylist()
    return Latest(rows, pa.RecordBatchReader.from_batches(schema, batches))


def count(out: str) -> int:
    """Number of ids with a current row."""
    with Workspace() as work:
        find_current(Dataset.open(out), work)
        return _rows(work)


def _rows(work: Workspace) -> int:
    [(rows,)] = work.rows(f"SELECT count(*) FROM current WHERE kind = {Outcome.EMBEDDED}")
    return int(rows)


def find_current(dataset: Dataset, work: Workspace, ids: Sequence[str] | None = None) -> list[OutcomeFile]:
    """Make the tables `outcomes` and `current` in `work`; returns the files that the outcomes come from.

    If `ids` are given, of these alone, which reads little of a large dataset.

    `current` has the `place` and `kind` of each id's current state, EMBEDDED or QUARANTINED.
    """
    files = gather(dataset, work, ids)
    [(rows,)] = work.rows("SELECT count(*) FROM outcomes")
    with IdPasses(work, rows, {"outcomes": "*"}) as passes:
        passes.store("current", _CURRENT)
    return files


#: RETURNED and QUARANTINED outcomes resolve to the row of the same state, if that state was ever embedded.
_CURRENT = f"""
WITH newest AS MATERIALIZED (SELECT max(place) AS place, arg_max(kind, place) AS kind FROM outcomes GROUP BY id),
unclear AS (
    SELECT id, source_fingerprint FROM outcomes
    SEMI JOIN (SELECT place FROM newest WHERE kind IN ({Outcome.RETURNED}, {Outcome.QUARANTINED})) USING (place)
), resolved AS (
    SELECT max(kind) AS kind,
           coalesce(
               max(place) FILTER (kind = {Outcome.EMBEDDED}), max(place) FILTER (kind = {Outcome.QUARANTINED})
           ) AS place
    FROM outcomes JOIN unclear USING (id, source_fingerprint) GROUP BY id
)
SELECT place, kind FROM newest WHERE kind = {Outcome.EMBEDDED}
UNION ALL SELECT place, kind FROM resolved WHERE place IS NOT NULL
"""


def _batches(dataset: Dataset, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """First a batch with the number of rows, as soon as they are selected; then the rows."""
    names = [name for name in schema.names if name != RUN_DATE.name]

    def read(file: OutcomeFile, rows: RowNumbers) -> pa.Table:
        table = read_rows(file.uri, rows, names)
        day = pa.repeat(pa.scalar(date.fromisoformat(file.run_date)), table.num_rows)
        return conform(table.select(names).append_column(RUN_DATE, day), schema)

    with Workspace() as work:
        files = find_current(dataset, work)
        yield pa.RecordBatch.from_pydict({"rows": [_rows(work)]})
        current = work.batches(f"SELECT place FROM current WHERE kind = {Outcome.EMBEDDED} ORDER BY place")
        for table in tables_behind(current, files, read):
            yield from table.to_batches()
