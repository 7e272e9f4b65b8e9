"""Counts the rows of a dataset and the records in quarantine, from where the previous count stopped.

In: a dataset. Out: its numbers, and `OUT/_held.parquet` for the next count (`counted`). Committed shards never change,
so a count reads the plans of new runs, and of those earlier ones whose shards were committed since. It compares the
files and plans that are there now with those that were counted; if any of them is gone or another one, everything is
counted from scratch.

A record is in quarantine in its latest state only: if a later run planned it with another fingerprint, because its
image or text changed, it is no longer counted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.checks.counted import HELD, Counted, Waiting, digest_of, read_counted, store_counted
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.history import PlannedRun, planned_runs, records
from pipeline.dataset.keys.index import read_facts
from pipeline.dataset.layout import DataFile
from pipeline.dataset.scan import choose, scan, scan_files
from pipeline.errors import StorageError
from pipeline.records import Shard
from pipeline.scratch.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HeldCount:
    """What a dataset holds.

    Attributes:
        shards, size_bytes: committed shards, and the bytes of their embeddings files.
        rows: embedded rows.
        quarantined: records whose latest outcome is quarantine, by reason.
        examples: the id of one of them by reason.
    """

    shards: int
    size_bytes: int
    rows: int
    quarantined: Counter[str]
    examples: Mapping[str, str]

    @property
    def quarantine_share(self) -> float:
        """Share of quarantined records among all with an outcome."""
        quarantined = self.quarantined.total()
        return quarantined / max(1, self.rows + quarantined)


@dataclass(frozen=True, slots=True)
class _Listed:
    """What is there now.

    Attributes:
        files: embeddings files by shard.
        ever: shards that are or were committed; other files hold the rows of those that were compacted.
        aside: quarantine files of the files.
        runs, plans: objects of each run, and the version of its plan.
    """

    files: Mapping[str, DataFile]
    ever: frozenset[str]
    aside: Sequence[DataFile]
    runs: Mapping[str, list[storage.ObjectInfo]]
    plans: Mapping[str, str]

    def versions(self, without: Iterable[str] = ()) -> Iterator[str]:
        """The versions of all files except those of some shards."""
        left_out = set(without)
        for file in (*self.files.values(), *self.aside):
            if file.shard_id not in left_out:
                yield f"{file.run_date} {file.shard_id} {file.attempt} {file.size_bytes} {file.fingerprint}"

    def digest_of_plans(self, runs: Iterable[str]) -> str:
        """A digest of the plans of these runs that are there."""
        return digest_of(f"{run} {self.plans[run]}" for run in runs if run in self.plans)


@dataclass(frozen=True, slots=True)
class _News:
    """What came since a count: runs to read, and the shards of theirs that were committed since."""

    runs: list[PlannedRun]
    files: list[DataFile]

    @property
    def planned(self) -> dict[str, Shard]:
        """The shards of the runs by id."""
        return {shard.shard_id: shard for run in self.runs for shard in run.shards}


def count_held(uri: str, recount: bool = False) -> HeldCount:
    """Count the dataset at `uri`, and store the count for the next one; with `recount` from scratch.

    Raises:
        IdentityError: there is no dataset.
        StorageError, RunError: it cannot be read.
    """
    counted, listed = _count(uri, recount)
    return _numbers(counted, listed)


def held_records(uri: str) -> pa.Table:
    """The records in quarantine, as rows of `HELD`. Counts, and raises, as `count_held`."""
    counted, _ = _count(uri, recount=False)
    return counted.held


def _count(uri: str, recount: bool) -> tuple[Counted, _Listed]:
    dataset = Dataset.open(uri)
    listed = _list(dataset)
    before = None if recount else read_counted(dataset.uri)
    news = _since(before, listed) if before else None
    if before is None or news is None:
        before, news = Counted(), _News(planned_runs(listed.runs), list(listed.files.values()))
    now = _advanced(dataset, listed, before, news)
    if recount or (now.closed, now.waiting, now.files) != (before.closed, before.waiting, before.files):
        _store(dataset.uri, now)
    return now, listed


def _list(dataset: Dataset) -> _Listed:
    # Files first: the plan and the quarantine of every file that is listed here are there already.
    committed = dataset.committed()
    files = {file.shard_id: file for file in committed.files}
    dates = {(file.run_date, file.shard_id) for file in files.values()}
    found = layout.data_files(dataset.uri, layout.QUARANTINE)
    runs = layout.runs(dataset.uri)
    return _Listed(
        files=files,
        ever=committed.ever,
        aside=[file for file in found if (file.run_date, file.shard_id) in dates],
        runs=runs,
        plans={run: info.fingerprint for run, info in layout.plans(runs).items()},
    )


def _since(before: Counted, listed: _Listed) -> _News | None:
    """What came since `before`; None if something that was counted is gone or another."""
    if any(listed.plans.get(run) != of.plan for run, of in before.waiting.items()):
        return None
    if listed.digest_of_plans(before.closed) != before.plans:
        return None
    grown = {run: of.shards & listed.files.keys() for run, of in before.waiting.items()}
    known = before.closed | {run for run, shards in grown.items() if not shards}
    runs = planned_runs({run: infos for run, infos in listed.runs.items() if run not in known})
    own = {shard.shard_id for run in runs if run.run_id not in grown for shard in _own(run)}
    new = own.union(*grown.values()) & listed.files.keys()
    if digest_of(listed.versions(without=new)) != before.files:
        return None
    return _News(runs, [listed.files[shard_id] for shard_id in new])


def _advanced(dataset: Dataset, listed: _Listed, before: Counted, news: _News) -> Counted:
    """`before` with the news."""
    left = {run.run_id: frozenset(s.shard_id for s in _own(run) if s.shard_id not in listed.ever) for run in news.runs}
    closed = before.closed | {run for run, shards in left.items() if not shards}
    waiting = {run: of for run, of in before.waiting.items() if run not in left}
    waiting |= {run: Waiting(listed.plans[run], shards) for run, shards in left.items() if shards}
    failed, held = _held(dataset, listed, before, news)
    return Counted(
        closed=closed,
        waiting=waiting,
        files=digest_of(listed.versions()),
        plans=listed.digest_of_plans(closed),
        rows=before.rows + _rows(dataset, news),
        failed=before.failed + failed,
        held=held,
    )


def _own(run: PlannedRun) -> Iterable[Shard]:
    return (shard for shard in run.shards if shard.planned_by == run.run_id)


def _rows(dataset: Dataset, news: _News) -> int:
    planned = news.planned
    known = [planned[file.shard_id].rows for file in news.files if file.shard_id in planned]
    unknown = [file for file in news.files if file.shard_id not in planned]
    return sum(known) + sum(facts.rows_planned for facts in read_facts(dataset.uri, unknown))


def _held(dataset: Dataset, listed: _Listed, before: Counted, news: _News) -> tuple[int, pa.Table]:
    """Rows of the new quarantine files, and the records in quarantine now."""
    planned = news.planned
    quarantine = dataset.quarantine_files(news.files)
    if not quarantine and not before.held.num_rows:
        return 0, before.held
    listed_by = {file.uri: planned[file.shard_id].planned_by if file.shard_id in planned else "" for file in quarantine}
    # A file without a plan may hold retried records too.
    retried = [file for file in news.files if file.shard_id not in planned or planned[file.shard_id].attempts]
    # A plan that was counted already may have a newer state of a record that only now came into quarantine.
    earliest = min(listed_by.values(), default=None)
    known = (before.closed | before.waiting.keys()) - {run.run_id for run in news.runs}
    later = {} if earliest is None else {run: listed.runs[run] for run in known & listed.plans.keys() if run > earliest}
    with Workspace() as work:
        work.register("before", before.held)
        work.register("quarantined", _quarantined(quarantine, listed_by))
        work.register("embedded", scan(retried, choose(dataset.identity.schema, ["id", "source_fingerprint"])))
        work.register("planned", records([*news.runs, *planned_runs(later)]))
        [(failed,)] = work.rows("SELECT count(*) FROM quarantined")
        held = [batch.cast(HELD) for batch in work.batches(_STILL_HELD)]
    return int(failed), pa.Table.from_batches(held, HELD)


def _quarantined(files: list[DataFile], listed_by: Mapping[str, str]) -> pads.Dataset:
    return scan_files([(file.uri, {"run": listed_by[file.uri]}) for file in files], HELD)


#: A record leaves quarantine when a retried shard embeds it, or when a later plan has it with another fingerprint.
_STILL_HELD = """
WITH failed AS (
    SELECT id, source_fingerprint, arg_max(reason, attempts) AS reason, max(attempts) AS attempts, max(run) AS run
    FROM (FROM before UNION ALL BY NAME FROM quarantined) GROUP BY id, source_fingerprint
), latest AS (
    SELECT id, arg_max(source_fingerprint, run) AS newest, max(run) AS listed
    FROM planned SEMI JOIN failed USING (id) GROUP BY id
)
SELECT failed.* FROM failed ANTI JOIN embedded USING (id, source_fingerprint) LEFT JOIN latest USING (id)
WHERE coalesce(newest = source_fingerprint OR listed <= run, true)
"""


def _numbers(counted: Counted, listed: _Listed) -> HeldCount:
    by_reason = counted.held.group_by("reason").aggregate([("id", "count"), ("id", "min")]).to_pylist()
    return HeldCount(
        shards=len(listed.files),
        size_bytes=sum(file.size_bytes for file in listed.files.values()),
        rows=counted.rows - counted.failed,
        quarantined=Counter({row["reason"]: row["id_count"] for row in by_reason}),
        examples={row["reason"]: row["id_min"] for row in by_reason},
    )


def _store(out: str, counted: Counted) -> None:
    try:
        store_counted(out, counted)
    except StorageError as error:  # such as the credentials of somebody who only reads
        logger.info("The next count of %s starts where this one did: %s", out, error)
