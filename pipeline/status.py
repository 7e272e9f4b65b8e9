"""What a dataset holds right now, told without opening its data files: from names, sizes, plans and quarantine."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pipeline import layout, storage
from pipeline.dataset import Dataset, choose, scan
from pipeline.errors import NotFoundError
from pipeline.identity import Identity
from pipeline.layout import DataFile
from pipeline.run_history import planned_runs
from pipeline.schema import QUARANTINE
from pipeline.shard_file import read_footers
from pipeline.workspace import Workspace


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run: `state` as in `actors.progress`, or "planned" / "planning" for a run that reported nothing yet.

    `report` holds its summary, else its last progress, as plain values.
    """

    run_id: str
    state: str
    report: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Status:
    """A dataset at one moment.

    Attributes:
        uri, identity: which dataset.
        runs: newest first.
        shards: committed shards.
        rows: rows of the embeddings.
        size_bytes: bytes of the embeddings files.
        quarantined: records whose latest outcome is quarantine, by reason.
    """

    uri: str
    identity: Identity
    runs: tuple[RunStatus, ...]
    shards: int
    rows: int
    size_bytes: int
    quarantined: Counter[str]


def status(uri: str) -> Status:
    """Look at the dataset at `uri`. Raises IdentityError when there is none."""
    dataset = Dataset.open(uri)
    files, quarantine = dataset.files(), dataset.quarantine_files()
    planned = {shard.shard_id: shard for run in planned_runs(dataset.uri) for shard in run.shards}
    unknown = [file for file in files if file.shard_id not in planned]
    rows = sum(planned[file.shard_id].rows for file in files if file.shard_id in planned)
    rows += sum(footer.rows_planned for footer in read_footers(unknown))
    retried = [file for file in files if file.shard_id in planned and planned[file.shard_id].attempts]
    failed, by_reason = _count_quarantine(dataset, quarantine, retried)
    return Status(
        uri=dataset.uri,
        identity=dataset.identity,
        runs=tuple(_run_status(run_id, infos) for run_id, infos in reversed(layout.runs(dataset.uri).items())),
        shards=len(files),
        rows=rows - failed,
        size_bytes=sum(file.size_bytes for file in files),
        quarantined=by_reason,
    )


def _count_quarantine(
    dataset: Dataset, quarantine: list[DataFile], retried: list[DataFile]
) -> tuple[int, Counter[str]]:
    """All quarantine rows, and the records still in quarantine by reason. Only a retried shard takes one out of it."""
    if not quarantine:
        return 0, Counter()
    keys = ["id", "source_fingerprint"]
    with Workspace() as work:
        work.register("quarantined", scan(quarantine, choose(QUARANTINE, [*keys, "reason", "attempts"])))
        work.register("embedded", scan(retried, choose(dataset.identity.schema, keys)))
        [(rows,)] = work.rows("SELECT count(*) FROM quarantined")
        reasons = work.rows(
            """
            SELECT reason, count(*) FROM (
                SELECT id, source_fingerprint, arg_max(reason, attempts) AS reason FROM quarantined
                GROUP BY id, source_fingerprint
            ) ANTI JOIN embedded USING (id, source_fingerprint) GROUP BY reason
            """
        )
    return int(rows), Counter(dict(reasons))


def _run_status(run_id: str, infos: list[storage.ObjectInfo]) -> RunStatus:
    names = {storage.name(info.uri): info.uri for info in infos}
    for name in ("summary.json", "progress.json"):
        if name in names:
            try:
                report = json.loads(storage.read_bytes(names[name]))
            except (NotFoundError, ValueError):
                continue
            return RunStatus(run_id, str(report.get("state", "unknown")), report)
    return RunStatus(run_id, "planned" if layout.PLAN in names else "planning", {})
