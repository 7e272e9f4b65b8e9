"""Reports what a dataset holds without opening its embeddings files: the count of `held`, and how its runs ended."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.checks.held import HeldCount, count_held
from pipeline.dataset.compacted.log import compactions
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.identity import Identity
from pipeline.errors import NotFoundError

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
class Status(HeldCount):
    """A dataset at one moment: what it holds, and its runs.

    Attributes:
        uri, identity: the dataset.
        runs: newest first, as many as were asked for.
        earlier_runs: how many others there are.
        compaction: state of the newest compaction in place; empty if there was none.
        waiting_shards: shards that compactions replaced and whose files are not deleted yet.
    """

    uri: str
    identity: Identity
    runs: tuple[RunStatus, ...]
    earlier_runs: int
    compaction: str = ""
    waiting_shards: int = 0


def status(uri: str, runs: int | None = None, recount: bool = False) -> Status:
    """The status of the dataset at `uri`.

    Args:
        uri: the dataset.
        runs: how many of the newest runs to report; all for None.
        recount: count from scratch, see `checks.held`.

    Raises:
        IdentityError: there is no dataset.
        StorageError, RunError: it cannot be read.
    """
    dataset = Dataset.open(uri)
    counted = count_held(uri, recount)
    _, entry = compactions(dataset.uri).newest()
    found = list(reversed(layout.runs(dataset.uri).items()))
    return Status(
        uri=dataset.uri,
        identity=dataset.identity,
        **{number.name: getattr(counted, number.name) for number in fields(counted)},
        runs=tuple(storage.in_threads(_run_status, found[:runs], _READS_AT_ONCE)),
        earlier_runs=len(found) - len(found[:runs]),
        compaction=entry.state if entry else "",
        waiting_shards=sum(len(one.shards) for one in entry.waiting) if entry else 0,
    )


def _run_status(run: tuple[str, list[storage.ObjectInfo]]) -> RunStatus:
    run_id, infos = run
    names = {storage.name(info.uri): info.uri for info in infos}
    for name in (layout.SUMMARY, layout.PROGRESS):
        if name in names:
            try:
                report = json.loads(storage.read_bytes(names[name]))
            except (NotFoundError, ValueError):
                continue
            if not isinstance(report, dict):
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
