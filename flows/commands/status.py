"""`hanclip status`: print what a dataset holds and how its runs ended.

In: the URI of a dataset. Out: facts or one JSON object on stdout.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from flows.terminal import figures
from flows.terminal.json_lines import write_json
from flows.terminal.model_parts import settings
from flows.terminal.panels import panel
from flows.terminal.plain import plain
from flows.terminal.whole import print_table
from pipeline import units
from pipeline.dataset.checks.status import RunStatus, Status, status
from pipeline.dataset.identity import Identity
from pipeline.images.preprocessing import names_order
from pipeline.jobs.progress import Progress

_OLDER_PIXELS = (
    "begun before hanclip fixed the order of the resize's passes, which depended on the version of Pillow; `hanclip "
    "verify` counts the files that were made so"
)


def show_status(out: str, as_json: bool, runs: int, recount: bool) -> None:
    """Print the status of the dataset at `out` with its newest `runs`; with `recount`, count from scratch."""
    found = status(out, runs, recount)
    if as_json:
        identity = json.loads(found.identity.to_json())
        del identity["extra_schema"]  # Arrow's encoding of `extra`, only for readers of `_dataset.json`
        write_json(
            "status", {**{name: getattr(found, name) for name in _COUNTS}, "identity": identity, "runs": _runs(found)}
        )
    else:
        print_table(panel(plain(f"status of {found.uri}"), _status(found)))


_COUNTS = (
    "uri",
    "shards",
    "rows",
    "size_bytes",
    "quarantined",
    "examples",
    "earlier_runs",
    "compaction",
    "waiting_shards",
)


def _runs(found: Status) -> list[dict[str, Any]]:
    return [asdict(run) for run in found.runs]


def _status(found: Status) -> Iterator[tuple[str, object]]:
    yield "model", f"{found.identity.model}, vectors of {found.identity.dim} {found.identity.embedding_dtype}"
    yield from _parts(found.identity)
    if found.identity.has_images and not names_order(found.identity.preprocessing):
        yield "pixels", _OLDER_PIXELS
    rows, shards = units.count(found.rows, "row"), units.count(found.shards, "shard")
    yield "embedded", f"{rows} in {shards}, {units.size(found.size_bytes)}"
    if found.compaction == "writing":
        yield "compaction", f"not finished: `hanclip compact {found.uri}` goes on with it; readers see the old files"
    elif found.waiting_shards:
        yield "compaction", f"{found.waiting_shards:,} replaced files, which a later `hanclip compact` deletes"
    yield "quarantined", f"{found.quarantined.total():,} {_parenthesised(figures.by_reason(found.quarantined))}"
    if found.examples:
        yield "for example", figures.examples(found.examples)
    completed = False
    for run in found.runs:
        yield f"run {run.run_id}", _run(run, completed)
        completed = completed or run.state == "complete"
    if any(run.reported_at for run in found.runs):
        now = _clock(datetime.now(UTC).isoformat())
        yield "now", f"{now} on this machine; a run that is alive reports every ten seconds, except while Ray starts"
    if found.earlier_runs:
        total = len(found.runs) + found.earlier_runs
        yield "", f"and {units.count(found.earlier_runs, 'earlier run')}; --runs {total} shows all"


def _parts(identity: Identity) -> Iterator[tuple[str, object]]:
    """Digest and parts of the model."""
    if identity.model_parts is None:
        yield "model sha256", "not recorded: made by an earlier version; the next run records it"
        return
    yield "model sha256", identity.model_sha256
    if identity.model_parts["adapter"]:
        yield "adapter", f"sha256 {identity.model_parts['adapter']}"
    yield "vocabulary", f"sha256 {identity.model_parts['vocabulary']}, texts of up to {identity.context_length} tokens"
    yield from settings(identity.model_parts)


def _parenthesised(text: str) -> str:
    return f"({text})" if text else ""


def _run(run: RunStatus, completed_since: bool) -> str:
    """One run in a line. Rows left by an ended run count only until a later run was complete."""
    if not run.reported_at:
        left = run.report.get("rows_left")
        rest = [f"{left:,} rows left"] if left and not completed_since else []
        return ", ".join([run.state, *rest, *_computing(run.report)])
    return ", ".join([f"{run.state} at {_clock(run.reported_at)}", *_progress(run.report), *_computing(run.report)])


def _computing(report: dict[str, Any]) -> Iterator[str]:
    """What computed the vectors; nothing for a run without embedders, or of an earlier version."""
    if found := report.get("computing"):
        yield f"on {'; '.join(found)}"


def _clock(moment: str) -> str:
    """An ISO time, UTC, as people read it."""
    return f"{moment[:19].replace('T', ' ')} UTC"


def _progress(report: dict[str, Any]) -> Iterator[str]:
    """The latest progress of a run that has not ended."""
    try:
        progress = Progress.from_json(report)
    except ValueError:
        return  # nothing reported yet, or another version wrote the file
    if progress.rows_planned:
        yield f"{progress.stats.records:,}/{progress.rows_planned:,} records ({figures.share(progress.share)})"
    if progress.records_per_s:
        yield f"{figures.rate(progress.records_per_s)} records/s"
    if progress.eta_s is not None:
        yield f"{figures.duration(progress.eta_s)} left"
    if progress.crew_changes:
        yield progress.crew_changes[-1]
