"""Counts the records in quarantine after a run, from where the previous count stopped.

In: a dataset. Out: the numbers that `status` counts from all plans, and `OUT/_held.parquet`: the records in quarantine
now, and which runs and shards are counted. Committed shards never change, so a count reads the plans of new and
unfinished runs only. The file is a cache: without it, or if it does not fit the dataset, everything is counted from
scratch.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.footer import decode_footer, encode_footer
from pipeline.dataset.history import PlannedRun, planned_runs, records
from pipeline.dataset.layout import DataFile
from pipeline.dataset.scan import choose, scan, scan_files
from pipeline.dataset.schema import QUARANTINE
from pipeline.dataset.shard_file import read_footers
from pipeline.errors import StorageError
from pipeline.records import Shard
from pipeline.scratch.workspace import Workspace

logger = logging.getLogger(__name__)

_FORMAT = 1
_KEYS = ["id", "source_fingerprint"]
#: A record in quarantine: its latest reason, and the newest run that listed it in this state.
_HELD = choose(QUARANTINE, [*_KEYS, "reason", "attempts"]).append(pa.field("run", pa.string()))


@dataclass(frozen=True, slots=True)
class HeldCount:
    """Embedded rows of a dataset, its records in quarantine by reason, and the id of one of them by reason."""

    rows: int
    quarantined: Counter[str]
    examples: Mapping[str, str]

    @property
    def quarantine_share(self) -> float:
        """Share of quarantined records among all with an outcome."""
        quarantined = self.quarantined.total()
        return quarantined / max(1, self.rows + quarantined)


@dataclass(frozen=True, slots=True)
class _Counted:
    """What was counted.

    Attributes:
        closed: runs whose own shards are all committed and counted.
        open_shards: shards of other runs that are committed and counted.
        shards: committed shards that were counted.
        rows, failed: their rows, and how many of these are in quarantine files.
        held: rows of `_HELD`.
    """

    closed: frozenset[str]
    open_shards: frozenset[str]
    shards: int
    rows: int
    failed: int
    held: pa.Table


_NOTHING = _Counted(frozenset(), frozenset(), 0, 0, 0, _HELD.empty_table())


def count_held(uri: str) -> HeldCount:
    """Count the quarantine of the dataset at `uri`, and store the count for the next one.

    Raises:
        IdentityError: there is no dataset.
        StorageError, RunError: it cannot be read.
    """
    dataset = Dataset.open(uri)
    # Files first: the plan of every file that is listed here is there already.
    files = {file.shard_id: file for file in dataset.files()}
    runs = layout.runs(dataset.uri)
    before = _stored(dataset.uri)
    now = _advanced(dataset, files, runs, before)
    if now.shards != len(files):  # files or plans were deleted, or the count is of another dataset
        before, now = _NOTHING, _advanced(dataset, files, runs, _NOTHING)
    if (now.closed, now.open_shards) != (before.closed, before.open_shards):
        _store(dataset.uri, now)
    return _numbers(now)


def _advanced(
    dataset: Dataset, files: Mapping[str, DataFile], runs: Mapping[str, list[storage.ObjectInfo]], before: _Counted
) -> _Counted:
    """`before` with the runs that it does not cover; with `_NOTHING`, files without a plan count too."""
    fresh = planned_runs({run_id: infos for run_id, infos in runs.items() if run_id not in before.closed})
    planned = {shard.shard_id: shard for run in fresh for shard in run.shards}
    own = {shard.shard_id for run in fresh for shard in run.shards if shard.planned_by == run.run_id}
    wanted = files if before is _NOTHING else own - before.open_shards
    new = [files[shard_id] for shard_id in wanted if shard_id in files]
    unfinished = [run for run in fresh if any(shard.shard_id not in files for shard in _own(run))]
    failed, held = _held(dataset, new, planned, fresh, runs, before)
    return _Counted(
        closed=before.closed | {run.run_id for run in fresh} - {run.run_id for run in unfinished},
        open_shards=frozenset(shard.shard_id for run in unfinished for shard in _own(run) if shard.shard_id in files),
        shards=before.shards + len(new),
        rows=before.rows + _rows(new, planned),
        failed=before.failed + failed,
        held=held,
    )


def _own(run: PlannedRun) -> Iterable[Shard]:
    return (shard for shard in run.shards if shard.planned_by == run.run_id)


def _rows(files: list[DataFile], planned: Mapping[str, Shard]) -> int:
    known = [planned[file.shard_id].rows for file in files if file.shard_id in planned]
    unknown = [file for file in files if file.shard_id not in planned]
    return sum(known) + sum(footer.rows_planned for footer in read_footers(unknown))


def _held(
    dataset: Dataset,
    new: list[DataFile],
    planned: Mapping[str, Shard],
    fresh: list[PlannedRun],
    runs: Mapping[str, list[storage.ObjectInfo]],
    before: _Counted,
) -> tuple[int, pa.Table]:
    """Rows of the new quarantine files, and the records in quarantine now."""
    quarantine = dataset.quarantine_files(new)
    if not quarantine and not before.held.num_rows:
        return 0, before.held
    listed_by = {file.uri: planned[file.shard_id].planned_by if file.shard_id in planned else "" for file in quarantine}
    retried = [file for file in new if file.shard_id in planned and planned[file.shard_id].attempts]
    # A plan that was counted already may have a newer state of a record that only now came into quarantine.
    earliest = min(listed_by.values(), default=None)
    later = (
        {} if earliest is None else {run_id: runs[run_id] for run_id in before.closed & set(runs) if run_id > earliest}
    )
    with Workspace() as work:
        work.register("before", before.held)
        work.register("quarantined", _quarantined(quarantine, listed_by))
        work.register("embedded", scan(retried, choose(dataset.identity.schema, _KEYS)))
        work.register("planned", records([*fresh, *planned_runs(later)]))
        [(failed,)] = work.rows("SELECT count(*) FROM quarantined")
        held = [batch.cast(_HELD) for batch in work.batches(_STILL_HELD)]
    return int(failed), pa.Table.from_batches(held, _HELD)


def _quarantined(files: list[DataFile], listed_by: Mapping[str, str]) -> pads.Dataset:
    return scan_files([(file.uri, {"run": listed_by[file.uri]}) for file in files], _HELD)


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


def _numbers(counted: _Counted) -> HeldCount:
    by_reason = counted.held.group_by("reason").aggregate([("id", "count"), ("id", "min")]).to_pylist()
    return HeldCount(
        rows=counted.rows - counted.failed,
        quarantined=Counter({row["reason"]: row["id_count"] for row in by_reason}),
        examples={row["reason"]: row["id_min"] for row in by_reason},
    )


def _stored(out: str) -> _Counted:
    """The previous count; nothing if there is none, or it cannot be used."""
    try:
        table = pq.read_table(pa.BufferReader(storage.read_bytes(storage.join(out, layout.HELD))))
        facts: dict[str, Any] = json.loads(decode_footer(table.schema.metadata)["counted"])
        if facts.pop("format") != _FORMAT:
            return _NOTHING
        closed, open_shards = frozenset(facts.pop("closed")), frozenset(facts.pop("open_shards"))
        return _Counted(closed, open_shards, held=table.cast(_HELD), **facts)
    except (StorageError, pa.ArrowException, LookupError, TypeError, ValueError) as error:
        logger.debug("The quarantine of %s is counted from scratch: %s", out, error)
        return _NOTHING


def _store(out: str, counted: _Counted) -> None:
    facts = {
        "format": _FORMAT,
        "closed": sorted(counted.closed),
        "open_shards": sorted(counted.open_shards),
        "shards": counted.shards,
        "rows": counted.rows,
        "failed": counted.failed,
    }
    sink = pa.BufferOutputStream()
    table = counted.held.replace_schema_metadata(encode_footer({"counted": json.dumps(facts)}))
    pq.write_table(table, sink, compression="zstd")
    try:
        storage.overwrite(storage.join(out, layout.HELD), sink.getvalue().to_pybytes())
    except StorageError as error:
        logger.warning("The next run counts the quarantine from scratch: %s", error)
