"""Writes a snapshot: the latest state of one dataset as a clean, separate dataset.

    plan_snapshot -> [ read_records -> read_rows -> write_shard ] -> summary.json

In: a dataset and the address of the snapshot. Out: that snapshot, with the same identity and full-size shards, which
`verify` audits and `embed` continues. If it is killed and run again, it resumes its stored plan, whatever the source
dataset has received since; shard ids and the create-only commit do the rest.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby

import numpy as np
import pyarrow as pa

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.footer import decode_footer, joined_makers, joined_values
from pipeline.dataset.outcomes import read_rows
from pipeline.dataset.plan_files import read_records
from pipeline.dataset.schema import QUARANTINE
from pipeline.dataset.shard_file import ShardProvenance
from pipeline.errors import AlreadyExistsError, RunError, UsageError
from pipeline.phases import OnPhase, ignore
from pipeline.records import Record, Shard
from pipeline.snapshot.plan import Selection, SnapshotPlan, dry_snapshot, plan_snapshot
from pipeline.vocabulary import NOT_USED

_SHARDS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Compaction:
    """Progress or result of writing a snapshot.

    Attributes:
        source, snapshot: the dataset and its snapshot.
        run_id, run_date: the run in the snapshot and its partition.
        rows: current ids.
        rows_quarantined: of these, ids with their newest state in quarantine.
        rows_done, shards_done: committed, including those of earlier calls.
        shards: number of shards in the snapshot.
        shard_rows: target rows per shard.
    """

    source: str
    snapshot: str
    run_id: str
    run_date: str
    rows: int
    rows_quarantined: int
    rows_done: int
    shards: int
    shards_done: int
    shard_rows: int

    @property
    def complete(self) -> bool:
        """Whether every shard is committed."""
        return self.shards_done == self.shards


def dry_compact(out: str, snapshot: str) -> Compaction:
    """What `compact` would write to an empty folder; raises the same errors."""
    dataset = Dataset.open(out)
    return _compaction(dataset, dry_snapshot(dataset, storage.normalise(snapshot)), [])


def compact(
    out: str,
    snapshot: str,
    on_phase: OnPhase = ignore,
    only: Selection | None = None,
) -> Compaction:
    """Write the latest state of `out` to `snapshot`, or resume that; `only` limits the rows.

    Raises:
        UsageError: `snapshot` holds something else, or another run wrote to the unfinished snapshot.
        StorageError, RunError: reading or writing failed; the same call resumes.
    """
    dataset = Dataset.open(out)
    plan = plan_snapshot(dataset, storage.normalise(snapshot), only)
    committed = plan.target.committed().present
    done = [shard for shard in plan.shards if shard.shard_id in committed]
    left = [shard for shard in plan.shards if shard.shard_id not in committed]
    if left:
        _refuse_later_runs(plan)
    rows_done = sum(shard.rows for shard in done)
    on_phase("Copying rows", rows_done, plan.rows)
    with ThreadPoolExecutor(_SHARDS_AT_ONCE) as threads:
        for shard, _ in zip(left, threads.map(partial(_copy, plan), left), strict=True):
            done.append(shard)
            rows_done += shard.rows
            on_phase("Copying rows", rows_done, plan.rows)
    result = _compaction(dataset, plan, done)
    summary = json.dumps({"state": "complete", **asdict(result)}, indent=2, ensure_ascii=False)
    storage.overwrite(storage.join(layout.run_uri(plan.target.uri, plan.run_id), layout.SUMMARY), summary.encode())
    return result


def _compaction(dataset: Dataset, plan: SnapshotPlan, done: list[Shard]) -> Compaction:
    return Compaction(
        source=dataset.uri,
        snapshot=plan.target.uri,
        run_id=plan.run_id,
        run_date=plan.run_date,
        rows=plan.rows,
        rows_quarantined=int(plan.facts["rows_quarantined"]),
        rows_done=sum(shard.rows for shard in done),
        shards=len(plan.shards),
        shards_done=len(done),
        shard_rows=plan.target.identity.shard_rows,
    )


def _refuse_later_runs(plan: SnapshotPlan) -> None:
    """Raise UsageError if another run wrote to the unfinished snapshot: its rows would be there twice."""
    others = sorted(set(layout.runs(plan.target.uri)) - {plan.run_id})
    if others:
        raise UsageError(f"{plan.target.uri} is not finished, but run {others[0]} wrote to it: choose another folder.")


def _copy(plan: SnapshotPlan, shard: Shard) -> None:
    """Copy one shard. If another call commits it first, it copied the same rows."""
    embedded = [plan.target.identity.schema.empty_table()]
    failed = [QUARANTINE.empty_table()]
    footers: list[dict[str, str]] = []
    records = read_records(shard)
    for uri, group in groupby(records, lambda record: record.container or ""):
        table = _read(uri, list(group))
        if f"/{layout.QUARANTINE}/run_date=" in uri:
            failed.append(table)
        else:
            embedded.append(table)
            footers.append(decode_footer(table.schema.metadata))
    provenance = ShardProvenance(
        run_id=plan.run_id,
        rows_planned=len(records),
        # A dataset without an embedded row may have none.
        logit_scale=float(plan.facts.get("logit_scale", "nan")),
        compute_dtype=joined_values(facts.get("compute_dtype", NOT_USED) for facts in footers or [plan.facts]),
        makers=joined_makers(footers),
    )
    with suppress(AlreadyExistsError):
        plan.target.write_shard(shard.shard_id, plan.run_date, _joined(embedded), _joined(failed), provenance)


def _read(uri: str, records: list[Record]) -> pa.Table:
    """The rows of one file that `records` name, in order."""
    table = read_rows(uri, np.array([record.position for record in records], np.int64))
    wanted = [(record.id, record.source_fingerprint) for record in records]
    if list(zip(table["id"].to_pylist(), table["source_fingerprint"].to_pylist(), strict=True)) != wanted:
        raise RunError(f"{uri} has changed since the snapshot was planned: start again in an empty folder.")
    return table


def _joined(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
