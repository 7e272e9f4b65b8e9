"""Plans a snapshot: cuts the current ids of a dataset into full-size shards, stored as the plan of one run.

In: a dataset and the address of its snapshot. Out: `_snapshot.json`, which claims the folder, then `_dataset.json` and
`_runs/<run>/` with records and plan. A record's `container` and `position` are the file and the row to copy it from, so
a finished plan fixes the content of the snapshot.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.history import latest_config
from pipeline.dataset.identity import Identity
from pipeline.dataset.latest_rows import find_current
from pipeline.dataset.outcomes import Outcome, OutcomeFile, footer_of, positions
from pipeline.dataset.plan_files import read_shards
from pipeline.errors import AlreadyExistsError, UsageError
from pipeline.plan.cutting import Bounds, Cutter, target_rows
from pipeline.plan.listing import source_digest
from pipeline.plan.record_files import RecordFiles, write_shards
from pipeline.plan.run_ids import new_run_id
from pipeline.plan.shards import Cut, Origin, shard_id
from pipeline.records import RECORDS, Shard
from pipeline.scratch.workspace import Workspace
from pipeline.storage import claim_folder, claim_or_empty


@dataclass(frozen=True, slots=True)
class Selection:
    """A subset of the latest rows: a local Parquet file with `id` and `source_fingerprint`, and a digest of the set."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class SnapshotPlan:
    """The content of a snapshot.

    Attributes:
        target: the snapshot, which does not exist for a dry plan.
        run_id, run_date: the run that copies, and its partition.
        shards: what to copy; quarantined records count as rows of their shard.
        facts: the facts in the plan's footer.
    """

    target: Dataset
    run_id: str
    run_date: str
    shards: list[Shard]
    facts: dict[str, str]

    @property
    def rows(self) -> int:
        """Number of current ids, quarantined ones included."""
        return sum(shard.rows for shard in self.shards)


def plan_snapshot(dataset: Dataset, uri: str, only: Selection | None = None) -> SnapshotPlan:
    """The plan of the snapshot of `dataset` at `uri`, stored or new; `only` limits its rows. Raises UsageError."""
    claim = _claim(dataset.uri, uri, only)
    run_uri = layout.run_uri(uri, claim["run_id"])
    if not storage.exists(storage.join(run_uri, layout.PLAN)):
        with suppress(AlreadyExistsError):  # Two calls plan at once: both carry out the first plan.
            return _make(dataset, uri, claim, run_uri, only)
    shards, facts = read_shards(run_uri)
    return SnapshotPlan(Dataset.open(uri), claim["run_id"], facts["run_date"], shards, facts)


def dry_snapshot(dataset: Dataset, uri: str) -> SnapshotPlan:
    """The plan that `plan_snapshot` would make, with nothing written. Raises UsageError."""
    _check_target(dataset.uri, uri)
    return _make(dataset, uri, _new_claim(dataset.uri), "")


def _check_target(out: str, uri: str, only: Selection | None = None) -> None:
    """Raise UsageError unless `uri` is free for a snapshot of `out`, or holds one of the same rows."""
    if storage.is_inside(uri, out) or storage.is_inside(out, uri):
        raise UsageError(f"The snapshot {uri} and the dataset {out} overlap: choose another folder.")
    claim = claim_or_empty(storage.join(uri, layout.SNAPSHOT), f"snapshot of {out}")
    if claim is None:
        return
    if claim["source"] != out:
        raise UsageError(f"{uri} is a snapshot of {claim['source']}, not of {out}: choose another folder.")
    if claim.get("selection") != (only.digest if only else None):
        raise UsageError(f"{uri} is a snapshot of other rows of {out}: choose another folder.")


def _claim(out: str, uri: str, only: Selection | None) -> dict[str, Any]:
    """The claim on the folder of the snapshot, which names its run: a new one, or that of an earlier call."""
    _check_target(out, uri, only)
    return claim_folder(storage.join(uri, layout.SNAPSHOT), _new_claim(out, only), f"snapshot of {out}")


def _new_claim(out: str, only: Selection | None = None) -> dict[str, Any]:
    today = datetime.now(UTC).date().isoformat()
    claim = {"hanclip_snapshot": 1, "source": out, "run_id": new_run_id(), "run_date": today}
    return claim | ({"selection": only.digest} if only else {})


def _make(
    dataset: Dataset, uri: str, claim: dict[str, Any], run_uri: str, only: Selection | None = None
) -> SnapshotPlan:
    """Make a new plan; with an empty `run_uri` nothing is stored."""
    run_id, run_date = claim["run_id"], claim["run_date"]
    with Workspace() as work:
        files = find_current(dataset, work)
        _choose(work, only)
        [(rows, quarantined)] = work.rows(
            f"SELECT count(*), count(*) FILTER (kind = {Outcome.QUARANTINED}) FROM chosen"
        )
        # A dataset that began small keeps its small shards; its snapshot gets the size that fits its rows today.
        size = max(dataset.identity.shard_rows, target_rows(rows, 1))
        target = Dataset(uri, replace(dataset.identity, shard_rows=size))
        target = Dataset.open_or_create(uri, target.identity) if run_uri else target
        # A separate folder, so that another call that plans at the same time does not write to the same files.
        folder = storage.join(layout.RECORDS, secrets.token_hex(4))
        records = RecordFiles(run_uri, Origin(run_id, run_date), folder)
        for cut in _cuts(target.identity, _located(work, files)):
            records.add(cut)
        records.finish_file()
    facts = {
        "run_id": run_id,
        "run_date": run_date,
        "kind": "full",
        "source": _source(dataset.uri, run_uri, uri),
        "rows_in_source": str(rows),
        "rows_already_done": "0",
        "rows_quarantined": str(quarantined),
        **_arithmetic(files),
    }
    if run_uri:
        write_shards(run_uri, records.shards, facts, once=True)
    return SnapshotPlan(target, run_id, run_date, records.shards, facts)


def _choose(work: Workspace, only: Selection | None) -> None:
    """Make `chosen`: the rows of `current` that the snapshot holds."""
    if only is None:
        work.execute("CREATE VIEW chosen AS SELECT * FROM current")
        return
    work.view("selected", only.path)
    work.execute(
        f"CREATE TABLE chosen AS SELECT current.* FROM current JOIN outcomes USING (place) "
        f"SEMI JOIN selected USING (id, source_fingerprint) WHERE current.kind = {Outcome.EMBEDDED}"
    )


def _source(out: str, run_uri: str, uri: str) -> str:
    """Digest of the dataset's source, so that the next run of that source in the snapshot continues from this plan.

    Its configuration is copied, so that `retry` works in the snapshot.
    """
    try:
        config = latest_config(out)
    except UsageError:
        return out
    if run_uri:
        moved = config.model_copy(update={"output": config.output.model_copy(update={"uri": uri, "run_date": None})})
        storage.overwrite(storage.join(run_uri, layout.CONFIG), moved.model_dump_json(indent=2).encode())
    return source_digest(config)


def _arithmetic(files: list[OutcomeFile]) -> dict[str, str]:
    """Temperature and dtype of the newest embeddings, for shards without an embedded row."""
    embeddings = [file for file in files if file.kind == Outcome.EMBEDDED]
    footer = footer_of(embeddings[-1].uri) if embeddings else {}
    return {name: footer[name] for name in ("logit_scale", "compute_dtype") if name in footer}


def _located(work: Workspace, files: list[OutcomeFile]) -> Iterator[pa.Table]:
    """Rows of `records.RECORDS` in the order of their places: neighbours in the dataset stay neighbours."""
    uris = pa.array([file.uri for file in files], pa.string())
    for batch in work.batches(
        "SELECT place, id, source_fingerprint FROM outcomes SEMI JOIN chosen USING (place) ORDER BY place"
    ):
        numbers, rows = positions(batch["place"].to_numpy(), files)
        columns = {name: pa.nulls(batch.num_rows, RECORDS.field(name).type) for name in RECORDS.names}
        columns |= {name: batch[name] for name in ("id", "source_fingerprint")}
        columns |= {"container": uris.take(pa.array(numbers)), "position": pa.array(rows)}
        yield pa.table(columns, schema=RECORDS)


def _cuts(identity: Identity, tables: Iterable[pa.Table]) -> Iterator[Cut]:
    """Shards, cut by content like those of a run over a folder."""
    cutter = Cutter(Bounds.around(identity.shard_rows), {})
    waiting: list[pa.Table] = []
    for table in tables:
        opens = np.flatnonzero(cutter.starts(table["id"].to_pylist(), [None] * len(table)))
        for start, end in pairwise([0, *opens, len(table)]):
            if start in opens and waiting:
                yield _cut(identity, waiting)
                waiting = []
            waiting += [table.slice(start, end - start)] if end > start else []
    if waiting:
        yield _cut(identity, waiting)


def _cut(identity: Identity, tables: list[pa.Table]) -> Cut:
    records = pa.concat_tables(tables).combine_chunks()
    return Cut(shard_id(identity, records, 0), records, 0)
