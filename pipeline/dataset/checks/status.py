"""Reports what a dataset holds without opening its embeddings files: from names, sizes, plans and quarantine.

A record counts as quarantined only in its latest state: if a later run planned it with another fingerprint, because its
image or text changed, it is no longer counted.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.history import PlannedRun, planned_runs, records
from pipeline.dataset.identity import Identity
from pipeline.dataset.layout import DataFile
from pipeline.dataset.scan import choose, scan
from pipeline.dataset.schema import QUARANTINE
from pipeline.dataset.shard_file import read_footers
from pipeline.errors import NotFoundError
from pipeline.scratch.workspace import Workspace

_READS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run.

    Attributes:
        run_id: its name.
        state: as in `pipeline.jobs.progress`; "planned" or "planning" for a run that has reported nothing yet.
        report: its summary, or else its last progress, as plain values.
        reported_at: of a run that has not ended, when it last reported, or when it began: ISO 8601, UTC, by the clock
            of its machine, so no age is computed from it.
    """

    run_id: str
    state: str
    report: dict[str, Any]
    reported_at: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """A dataset at one moment.

    Attributes:
        uri, identity: the dataset.
        runs: newest first.
        shards: committed shards.
        rows: rows of the embeddings.
        size_bytes: bytes of the embeddings files.
        quarantined: records whose latest outcome is quarantine, by reason.
        examples: the id of one such record by reason.
    """

    uri: str
    identity: Identity
    runs: tuple[RunStatus, ...]
    shards: int
    rows: int
    size_bytes: int
    quarantined: Counter[str]
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def quarantine_share(self) -> float:
        """Share of quarantined records among all with an outcome."""
        quarantined = self.quarantined.total()
        return quarantined / max(1, self.rows + quarantined)


def status(uri: str, reports: bool = True) -> Status:
    """The status of the dataset at `uri`; without `reports`, `runs` stays empty and no summary is read.

    Raises:
        IdentityError: there is no dataset.
        StorageError: it cannot be read.
    """
    dataset = Dataset.open(uri)
    files = dataset.files()
    quarantine = dataset.quarantine_files(files)
    found_runs = layout.runs(dataset.uri)
    runs = planned_runs(found_runs)
    planned = {shard.shard_id: shard for run in runs for shard in run.shards}
    unknown = [file for file in files if file.shard_id not in planned]
    rows = sum(planned[file.shard_id].rows for file in files if file.shard_id in planned)
    rows += sum(footer.rows_planned for footer in read_footers(unknown))
    retried = [file for file in files if file.shard_id in planned and planned[file.shard_id].attempts]
    failed, found = _count_quarantine(dataset, quarantine, retried, runs)
    return Status(
        uri=dataset.uri,
        identity=dataset.identity,
        runs=tuple(
            storage.in_threads(_run_status, list(reversed(found_runs.items())), _READS_AT_ONCE) if reports else ()
        ),
        shards=len(files),
        rows=rows - failed,
        size_bytes=sum(file.size_bytes for file in files),
        quarantined=Counter({reason: count for reason, count, _ in found}),
        examples={reason: example for reason, _, example in found},
    )


def _count_quarantine(
    dataset: Dataset, quarantine: list[DataFile], retried: list[DataFile], runs: list[PlannedRun]
) -> tuple[int, list[tuple[str, int, str]]]:
    """Number of quarantine rows; and reason, count and an example of the records still in quarantine.

    A record leaves quarantine when a retried shard embeds it, or when a later plan has it with another fingerprint.
    """
    if not quarantine:
        return 0, []
    keys = ["id", "source_fingerprint"]
    with Workspace() as work:
        work.register("quarantined", scan(quarantine, choose(QUARANTINE, [*keys, "reason", "attempts"])))
        work.register("embedded", scan(retried, choose(dataset.identity.schema, keys)))
        work.register("planned", records(runs if len(runs) > 1 else []))
        [(rows,)] = work.rows("SELECT count(*) FROM quarantined")
        reasons = work.rows(
            """
            WITH failed AS (
                SELECT id, source_fingerprint, arg_max(reason, attempts) AS reason FROM quarantined
                GROUP BY id, source_fingerprint
            ), latest AS (
                SELECT id, arg_max(source_fingerprint, run) AS newest FROM planned SEMI JOIN failed USING (id)
                GROUP BY id
            )
            SELECT reason, count(*), min(id) FROM failed ANTI JOIN embedded USING (id, source_fingerprint)
            LEFT JOIN latest USING (id) WHERE coalesce(newest = source_fingerprint, true) GROUP BY reason
            """
        )
    return int(rows), [(str(reason), int(count), str(example)) for reason, count, example in reasons]


def _run_status(run: tuple[str, list[storage.ObjectInfo]]) -> RunStatus:
    run_id, infos = run
    names = {storage.name(info.uri): info.uri for info in infos}
    for name in (layout.SUMMARY, layout.PROGRESS):
        if name in names:
            try:
                report = json.loads(storage.read_bytes(names[name]))
            except (NotFoundError, ValueError):
                continue
            reported_at = _utc(report.get("at")) if name == layout.PROGRESS else ""
            return RunStatus(run_id, str(report.get("state", "unknown")), report, reported_at)
    return RunStatus(run_id, "planned" if layout.PLAN in names else "planning", {}, _utc(run_id.partition(".")[0]))


def _utc(at: object) -> str:
    """An ISO time in UTC to the second; empty if it is not a time."""
    try:
        moment = datetime.fromisoformat(str(at))
    except ValueError:
        return ""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="seconds")
