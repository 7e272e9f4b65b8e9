"""The latest state of a dataset: of each id the row of its newest state, without ids that are gone.

In: a dataset that many runs wrote to. Out: its current rows as a stream. What a run says about an id takes the place of
whatever earlier runs said: a row, a quarantined record, or a tombstone of a run over the whole catalog. So

- an id whose newest state is in quarantine has no row here: its older embedding shows an image that is another one now;
- a change that is planned and not committed yet has said nothing: the row before it stays;
- a state that was embedded once has its row, even when a later attempt at the same state went to quarantine.

The first pass reads keys and decides; the second reads the rows that are meant, a few files at a time.
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
from pipeline.scratch.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Latest:
    """The current rows: how many they are, and a reader that gives them once."""

    rows: int
    reader: pa.RecordBatchReader


def latest(out: str, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
    """The current rows of the dataset at `out`, with `run_date`; `columns` limits the others.

    Which rows is decided before this returns; they are read while the reader is. Its scratch folder goes with it.

    Raises:
        IdentityError: there is no dataset.
        StorageError, RunError: it cannot be read; from the reader too.
    """
    return find_latest(out, columns).reader


def find_latest(out: str, columns: Sequence[str] | None = None) -> Latest:
    """The same, and how many they are."""
    dataset = Dataset.open(out)
    schema = choose(dataset.identity.schema, columns).append(RUN_DATE)
    batches = _batches(dataset, schema)
    [rows] = next(batches)["rows"].to_pylist()
    return Latest(rows, pa.RecordBatchReader.from_batches(schema, batches))


def count(out: str) -> int:
    """How many ids have a current row."""
    with Workspace() as work:
        find_current(Dataset.open(out), work)
        return _rows(work)


def _rows(work: Workspace) -> int:
    [(rows,)] = work.rows(f"SELECT count(*) FROM current WHERE kind = {Outcome.EMBEDDED}")
    return int(rows)


def find_current(dataset: Dataset, work: Workspace) -> list[OutcomeFile]:
    """Make the tables `words` and `current` (`place` and `kind` of each id's state, EMBEDDED or QUARANTINED) in `work`.

    Returns the files that the words are in.
    """
    files = gather(dataset, work)
    work.store("current", _CURRENT)
    return files


#: A word that repeats a state, or that is a failure, stands for that state: where the state was embedded, for its row.
_CURRENT = f"""
WITH newest AS MATERIALIZED (SELECT max(place) AS place, arg_max(kind, place) AS kind FROM words GROUP BY id),
unclear AS (
    SELECT id, source_fingerprint FROM words
    SEMI JOIN (SELECT place FROM newest WHERE kind IN ({Outcome.RETURNED}, {Outcome.QUARANTINED})) USING (place)
), resolved AS (
    SELECT max(kind) AS kind,
           coalesce(
               max(place) FILTER (kind = {Outcome.EMBEDDED}), max(place) FILTER (kind = {Outcome.QUARANTINED})
           ) AS place
    FROM words JOIN unclear USING (id, source_fingerprint) GROUP BY id
)
SELECT place, kind FROM newest WHERE kind = {Outcome.EMBEDDED}
UNION ALL SELECT place, kind FROM resolved WHERE place IS NOT NULL
"""


def _batches(dataset: Dataset, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows, behind a batch of their number that comes as soon as it is decided which they are."""
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
