"""Audits a dataset: every planned record has exactly one outcome, and every file holds what its footer states.

In: the URI of a dataset. Out: a `Report`. Everything is streamed; joins that do not fit into memory spill to disk.

A record is an (id, fingerprint). Only the newest plan of each source counts: a record that an earlier plan has and the
newest one lacks was changed or removed in the source, and is not missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline import storage
from pipeline.dataset import layout, schema
from pipeline.dataset.checks.mixtures import inexact, mixtures
from pipeline.dataset.checks.shard import Audit, audit
from pipeline.dataset.compacted.committed import Committed
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.history import planned_runs, records
from pipeline.dataset.layout import EMBEDDINGS, QUARANTINE, DataFile
from pipeline.dataset.scan import choose, scan, scan_files
from pipeline.scratch.passes import IdPasses
from pipeline.scratch.workspace import Workspace

_FILES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an audit.

    Attributes:
        uri: the dataset.
        shards: committed shards.
        planned: records in the newest plan of their source, or with an outcome.
        embedded: of these, records with vectors.
        quarantined: records whose latest outcome is quarantine.
        missing: records without an outcome: the dataset is incomplete, and running the same command completes it.
        replaced: quarantined states of records that a newer plan has in another state; counted nowhere else.
        abandoned: records of older plans without an outcome that the source dropped or changed since.
        duplicated: surplus rows: a record embedded twice, or quarantined twice in one attempt.
        unplanned: records with an outcome that are in no plan.
        problems: what is corrupt; each names the file or the records.
        leftovers: objects that no reader counts: failed or beaten attempts, and foreign files. Harmless.
        notes: files whose pixels or vectors were made in another way than the rest. Not corrupt.
        replaced_files: files that do not count because of a compaction; those of replaced shards are deleted later.
    """

    uri: str
    shards: int
    planned: int
    embedded: int
    quarantined: int
    missing: int
    replaced: int
    abandoned: int
    duplicated: int
    unplanned: int
    problems: tuple[str, ...]
    leftovers: tuple[str, ...]
    notes: tuple[str, ...] = ()
    replaced_files: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is corrupt. An incomplete dataset can be ok."""
        return not self.problems

    @property
    def complete(self) -> bool:
        """Whether every record of the newest plans has an outcome."""
        return self.missing == 0


def verify(uri: str) -> Report:
    """Audit the dataset at `uri`. Raises IdentityError when there is none, StorageError when it cannot be read."""
    dataset = Dataset.open(uri)
    committed = dataset.committed()
    audits = _audit_files(dataset, committed)
    with Workspace() as work:
        counts = _count(dataset, [found for found in audits if found.readable], work)
        row_problems = _row_problems(counts, work)
    file_problems = [problem for found in audits for problem in found.problems]
    return Report(
        uri=dataset.uri,
        shards=len(audits),
        **counts,
        notes=tuple(_notes(dataset, [found.makers for found in audits if found.makers is not None])),
        problems=(*_twice(dataset, committed), *_deleted(dataset, committed), *file_problems, *row_problems),
        leftovers=tuple(_leftovers(dataset, committed, audits)),
        replaced_files=tuple(_replaced(dataset, committed)),
    )


def _audit_files(dataset: Dataset, committed: Committed) -> list[Audit]:
    # A shard's quarantine is written before its embeddings, so listing in this order misses none of concurrent commits.
    candidates: dict[tuple[str, str], list[DataFile]] = {}
    for file in layout.data_files(dataset.uri, QUARANTINE):
        candidates.setdefault((file.run_date, file.shard_id), []).append(file)

    def check(file: DataFile) -> Audit:
        return audit(file, candidates.get((file.run_date, file.shard_id), []), dataset.identity)

    return storage.in_threads(check, committed.files, _FILES_AT_ONCE)


def _notes(dataset: Dataset, makers: Sequence[Mapping[str, str]]) -> Iterator[str]:
    if dataset.identity.has_images:
        yield from mixtures(makers)
    yield from inexact(makers)


def _twice(dataset: Dataset, committed: Committed) -> list[str]:
    """Shards committed under more than one date."""
    found = layout.data_files(dataset.uri, EMBEDDINGS)
    times = Counter(file.shard_id for file in found if file.shard_id not in committed.reserved)
    return [
        f"Shard {shard_id} is committed under {n} dates: delete all its files except those of the first date."
        for shard_id, n in times.items()
        if n > 1
    ]


def _deleted(dataset: Dataset, committed: Committed) -> list[str]:
    """Files that a compaction wrote and that are gone."""
    return [
        f"Shard {shard_id}, which a compaction of {dataset.uri} wrote, is gone: restore its file, or run `hanclip "
        "embed` over the source again to embed its rows once more."
        for shard_id in sorted(committed.missing)
    ]


def _replaced(dataset: Dataset, committed: Committed) -> list[str]:
    files = [file for folder in (EMBEDDINGS, QUARANTINE) for file in layout.data_files(dataset.uri, folder)]
    return [file.uri for file in files if file.shard_id in committed.reserved]


def _leftovers(dataset: Dataset, committed: Committed, audits: list[Audit]) -> list[str]:
    counted = {found.quarantine.uri for found in audits if found.quarantine is not None}
    failed = [file for file in layout.data_files(dataset.uri, QUARANTINE) if file.shard_id not in committed.reserved]
    unnamed = [file.uri for file in failed if file.uri not in counted]
    foreign = [uri for folder in (EMBEDDINGS, QUARANTINE) for uri in layout.foreign_objects(dataset.uri, folder)]
    return unnamed + foreign


def _count(dataset: Dataset, audits: list[Audit], work: Workspace) -> dict[str, int]:
    """Counts of the report, from a table `outcomes` with one row per record that was planned or has an outcome."""
    runs = planned_runs(layout.runs(dataset.uri))
    work.register("records", records(runs))
    keys = ["id", "source_fingerprint"]
    asides = [found.quarantine for found in audits if found.quarantine is not None]
    work.register("embedded", scan([found.file for found in audits], choose(dataset.identity.schema, keys)))
    work.register("quarantined", scan(asides, choose(schema.QUARANTINE, [*keys, "attempts"])))
    work.register("tombstones", _tombstones(dataset))
    rows = sum(shard.rows for run in runs for shard in run.shards)
    tables = {
        "records": ", ".join([*keys, "run", "current"]),
        "embedded": ", ".join(keys),
        "quarantined": ", ".join([*keys, "attempts"]),
        "tombstones": "id, run",
    }
    with IdPasses(work, rows, tables) as passes:
        passes.store("outcomes", _OUTCOMES)
    names = ["planned", "embedded", "quarantined", "missing", "replaced", "abandoned", "duplicated", "unplanned"]
    [row] = work.rows(
        """
        SELECT count(*) FILTER (outcome AND NOT replaced OR missing), count(*) FILTER (n_embedded > 0),
               count(*) FILTER (outcome AND n_embedded = 0 AND NOT replaced), count(*) FILTER (missing),
               count(*) FILTER (replaced),
               count(*) FILTER (NOT outcome AND NOT missing), coalesce(sum(surplus), 0),
               count(*) FILTER (NOT planned)
        FROM outcomes
        """
    )
    return dict(zip(names, map(int, row), strict=True))


def _tombstones(dataset: Dataset) -> pads.Dataset:
    """Ids with the runs that found them gone or back: of such an id, an earlier state without an outcome is old."""
    files = [(info.uri, {"run": run_id}) for run_id, info in layout.tombstones(dataset.uri).items()]
    return scan_files(files, pa.schema([schema.TOMBSTONES.field("id"), pa.field("run", pa.string())]))


def _row_problems(counts: dict[str, int], work: Workspace) -> list[str]:
    meanings = {
        "duplicated": ("surplus > 0", "surplus rows: records have more than one row"),
        "unplanned": ("NOT planned", "records have an outcome, but are in no plan under _runs/"),
    }
    problems = []
    for name, (condition, meaning) in meanings.items():
        if counts[name]:
            ids = work.rows(f"SELECT id FROM outcomes WHERE {condition} ORDER BY id LIMIT 3")
            problems.append(f"{counts[name]} {meaning}, for example {', '.join(repr(id_) for (id_,) in ids)}")
    return problems


_OUTCOMES = """
WITH plans AS (
    SELECT id, source_fingerprint, max(run) AS run, bool_or(current) AS current FROM records
    GROUP BY id, source_fingerprint
), newest AS (
    SELECT id, max(run) AS run FROM (SELECT id, run FROM plans UNION ALL SELECT id, run FROM tombstones) GROUP BY id
), embeddings AS (
    SELECT id, source_fingerprint, count(*) AS n FROM embedded GROUP BY id, source_fingerprint
), quarantine AS (
    SELECT id, source_fingerprint, count(*) AS n, count(*) - count(DISTINCT attempts) AS surplus FROM quarantined
    GROUP BY id, source_fingerprint
), joined AS (
    SELECT id, plans.run AS run, coalesce(current, false) AS current,
           coalesce(e.n, 0) AS n_embedded, coalesce(q.n, 0) AS n_quarantined,
           greatest(coalesce(e.n, 0) - 1, 0) + coalesce(q.surplus, 0) AS surplus
    FROM plans FULL JOIN embeddings AS e USING (id, source_fingerprint)
    FULL JOIN quarantine AS q USING (id, source_fingerprint)
)
SELECT id, n_embedded, surplus, joined.run IS NOT NULL AS planned, n_embedded + n_quarantined > 0 AS outcome,
       current AND n_embedded + n_quarantined = 0 AND joined.run = newest.run AS missing,
       n_embedded = 0 AND n_quarantined > 0 AND coalesce(joined.run < newest.run, false) AS replaced
FROM joined LEFT JOIN newest USING (id)
"""
