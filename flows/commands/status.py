"""`hanclip status` and `hanclip verify`: what a dataset holds, shown to a person or as one JSON object.

In: the address of a dataset. Out: stdout, and for `verify` an exit code: 0 when nothing is wrong and nothing missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console

from flows.terminal import figures
from flows.terminal.json_lines import write_json
from flows.terminal.panels import panel
from flows.terminal.plain import plain
from pipeline import units
from pipeline.dataset.checks.status import RunStatus, Status, status
from pipeline.jobs.progress import Progress

SHOWN = 20
#: A living run tells its progress every ten seconds; listing a source takes longer, and tells nothing.
SILENT_S = 120.0


def show_status(out: str, as_json: bool) -> None:
    """Print how far the dataset at `out` is."""
    found = status(out)
    if as_json:
        identity = json.loads(found.identity.to_json())
        del identity["extra_schema"]  # Arrow's own encoding, for readers of `_dataset.json`; `extra` says the same.
        write_json(
            "status", {**{name: getattr(found, name) for name in _COUNTS}, "identity": identity, "runs": _runs(found)}
        )
    else:
        Console(highlight=False).print(panel(plain(f"status of {found.uri}"), _status(found)))


_COUNTS = ("uri", "shards", "rows", "size_bytes", "quarantined", "examples")


def _runs(found: Status) -> list[dict[str, Any]]:
    return [asdict(run) for run in found.runs]


def _status(found: Status) -> Iterator[tuple[str, object]]:
    yield "model", f"{found.identity.model}, vectors of {found.identity.dim} {found.identity.embedding_dtype}"
    rows, shards = figures.count(found.rows, "row"), figures.count(found.shards, "shard")
    yield "embedded", f"{rows} in {shards}, {units.size(found.size_bytes)}"
    yield "quarantined", f"{found.quarantined.total():,} {_in_brackets(figures.by_reason(found.quarantined))}"
    if found.examples:
        yield "for example", figures.examples(found.examples)
    completed = False
    for run in found.runs[:SHOWN]:
        yield f"run {run.run_id}", _run(run, completed)
        completed = completed or run.state == "complete"
    if len(found.runs) > SHOWN:
        yield "", f"and {len(found.runs) - SHOWN:,} earlier runs; --json has them all"


def _in_brackets(text: str) -> str:
    return f"({text})" if text else ""


def _run(run: RunStatus, completed_since: bool) -> str:
    """One run in a line. What an ended run left is news only until a later one was complete."""
    if run.silent_s is None:
        left = run.report.get("rows_left")
        return f"{run.state}, {left:,} rows left" if left and not completed_since else run.state
    if run.silent_s >= SILENT_S:
        return f"{run.state} when last seen: no sign of life for {figures.duration(run.silent_s)}"
    return ", ".join([run.state, *_flow(run.report)])


def _flow(report: dict[str, Any]) -> Iterator[str]:
    """How far a living run is, from its last progress."""
    try:
        progress = Progress.from_json(report)
    except ValueError:
        return  # It has reported nothing yet, or another version wrote the file.
    if progress.rows_planned:
        yield f"{progress.stats.records:,}/{progress.rows_planned:,} records ({figures.share(progress.share)})"
    if progress.records_per_s:
        yield f"{figures.rate(progress.records_per_s)} records/s"
    if progress.eta_s is not None:
        yield f"{figures.duration(progress.eta_s)} left"
