"""Auditing a finished dataset: every planned record has one outcome, every file holds what it says.

In: the URI of a dataset. Out: a `Report`. Everything is streamed; joins that do not fit into memory go to a local disk.

A record is an (id, fingerprint). Of all plans, those count that are the newest of their source: what an earlier plan
wanted and a newer one of the same source no longer lists was changed or removed in the source, and is not missed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.checks.shard import Audit, audit
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.history import planned_runs, records
from pipeline.dataset.layout import EMBEDDINGS, QUARANTINE, DataFile
from pipeline.dataset.scan import choose, scan
from pipeline.dataset.schema import QUARANTINE as QUARANTINE_ROWS
from pipeline.scratch.workspace import Workspace

_FILES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found.

    Attributes:
        uri: the dataset.
        shards: committed shards.
        planned: records planned and still in the source's newest plan, or with an outcome.
        embedded: of these, records with vectors.
        quarantined: records whose latest outcome is quarantine.
        missing: records without an outcome yet: the dataset is incomplete, which the same command cures.
        replaced: quarantined states of records that a newer plan has in another state; counted nowhere else.
        abandoned: records of older plans that were neither done nor planned again: the source dropped or changed them.
        duplicated: rows too many: the same record embedded twice, or quarantined twice in one attempt.
        unplanned: records with an outcome that no plan lists.
        problems: what is corrupt; each names the file or the records.
        leftovers: objects that no reader counts: attempts that died or lost, and files of strangers. Harmless.
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

    @property
    def ok(self) -> bool:
        """Nothing is corrupt. An incomplete dataset may be ok."""
        return not self.problems

    @property
    def complete(self) -> bool:
        """Every record of the newest plans has its outcome."""
        return self.missing == 0


def verify(uri: str) -> Report:
    """Audit the dataset at `uri`. Raises IdentityError when there is none, StorageError when it cannot be read."""
    dataset = Dataset.open(uri)
    audits = _audit_files(dataset)
    with Workspace() as work:
        counts = _count(dataset, [found for found in audits if found.readable], work)
        row_problems = _row_problems(counts, work)
    file_problems = [problem for found in audits for problem in found.problems]
    return Report(
        uri=dataset.uri,
        shards=len(audits),
        **counts,
        problems=(*_twice(dataset), *file_problems, *row_problems),
        leftovers=tuple(_leftovers(dataset, audits)),
    )


def _audit_files(dataset: Dataset) -> list[Audit]:
    # A shard's quarantine is there before its embeddings: in this order none is missed of what is committed just now.
    files = dataset.files()
    candidates: dict[tuple[str, str], list[DataFile]] = {}
    for file in layout.data_files(dataset.uri, QUARANTINE):
        candidates.setdefault((file.run_date, file.shard_id), []).append(file)

    def check(file: DataFile) -> Audit:
        return audit(file, candidates.get((file.run_date, file.shard_id), []), dataset.identity)

    return storage.in_threads(check, files, _FILES_AT_ONCE)


def _twice(dataset: Dataset) -> list[str]:
    """Shards committed under more than one date."""
    found = layout.data_files(dataset.uri, EMBEDDINGS)
    times = Counter(file.shard_id for file in found)
    return [
        f"Shard {shard_id} is committed under {n} dates: delete all its files but the first date's."
        for shard_id, n in times.items()
        if n > 1
    ]


def _leftovers(dataset: Dataset, audits: list[Audit]) -> list[str]:
    counted = {found.quarantine.uri for found in audits if found.quarantine is not None}
    unnamed = [file.uri for file in layout.data_files(dataset.uri, QUARANTINE) if file.uri not in counted]
    strangers = [uri for folder in (EMBEDDINGS, QUARANTINE) for uri in layout.strangers(dataset.uri, folder)]
    return unnamed + strangers


def _count(dataset: Dataset, audits: list[Audit], work: Workspace) -> dict[str, int]:
    """Counts of the report, from a table `outcomes` with one row for each record that was planned or has an outcome."""
    work.register("records", records(planned_runs(layout.runs(dataset.uri))))
    keys = ["id", "source_fingerprint"]
    asides = [found.quarantine for found in audits if found.quarantine is not None]
    work.register("embedded", scan([found.file for found in audits], choose(dataset.identity.schema, keys)))
    work.register("quarantined", scan(asides, choose(QUARANTINE_ROWS, [*keys, "attempts"])))
    work.execute(_OUTCOMES)
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


def _row_problems(counts: dict[str, int], work: Workspace) -> list[str]:
    meanings = {
        "duplicated": ("surplus > 0", "rows too many: records have more than one row"),
        "unplanned": ("NOT planned", "records have an outcome, but no plan under _runs/ lists them"),
    }
    problems = []
    for name, (condition, meaning) in meanings.items():
        if counts[name]:
            ids = work.rows(f"SELECT id FROM outcomes WHERE {condition} ORDER BY id LIMIT 3")
            problems.append(f"{counts[name]} {meaning}, for example {', '.join(repr(id_) for (id_,) in ids)}")
    return problems


_OUTCOMES = """
CREATE TABLE outcomes AS
WITH plans AS (
    SELECT id, source_fingerprint, max(run) AS run, bool_or(current) AS current FROM records
    GROUP BY id, source_fingerprint
), newest AS (
    SELECT id, max(run) AS run FROM plans GROUP BY id
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
