"""The facts of a dry run: what there is to do, and about how long it would take."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flows.facts.flow_run import FlowOutcome, FlowRunSummary
from flows.facts.run import left_out, vanished
from flows.terminal import figures
from flows.terminal.marked import Code, Facts, Marked
from pipeline import units

if TYPE_CHECKING:  # keeps --help light: planning reads models and sources
    from actors.dry_run import DryRun


def dry_run_ended(base: FlowRunSummary, dry: DryRun) -> FlowRunSummary:
    """`base` with what a dry run found."""
    return replace(
        base,
        outcome=FlowOutcome.DRY_RUN,
        data=f"unchanged: {dry.rows:,} of {dry.rows_in:,} records are to do",
        details=f"{dry.rows:,} of {dry.rows_in:,} records to do",
        next_step="Run the deployment without `dry_run`.",
    )


def dry_run_facts(dry: DryRun) -> Facts:
    """Rows, shards and bytes to do, by which actors, and the estimate."""
    yield "source", dry.source
    yield "rows in", f"{dry.rows_in:,} = {dry.rows:,} to do + {dry.rows_already_done:,} already done"
    if dry.rows_vanished:
        yield "vanished", vanished(dry.rows_vanished)
    yield "shards", _shards(dry)
    yield (
        "bytes",
        "unknown: the source does not report sizes" if dry.size_bytes is None else units.size(dry.size_bytes),
    )
    yield "actors", f"{dry.decoders} decoders, {dry.embedders} embedders, chunks of {dry.chunk_rows}"
    yield "model", f"{dry.model} ({dry.dtype})"
    yield "output", Marked(Code(dry.output))
    yield "run_date", dry.run_date
    yield "estimate", f"{_time(dry)} ({dry.estimate_basis})"
    yield from left_out(dry.skipped)
    for note in dry.notes:
        yield "source", Marked(note, tone="warning")


def _shards(dry: DryRun) -> str:
    least, most = dry.smallest_shard, dry.largest_shard
    each = f"{most:,}" if least == most else f"{least:,} to {most:,}"
    return f"{dry.shards:,} of {each} records" if dry.shards else "none"


def _time(dry: DryRun) -> str:
    if dry.estimate_s is None:
        return "unknown"
    if not dry.rows:
        return "no time"
    working = figures.duration(dry.estimate_s - dry.startup_s)
    return f"about {working} plus about {figures.duration(dry.startup_s)} start-up"
