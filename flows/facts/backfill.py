"""The facts of a backfill."""

from __future__ import annotations

from dataclasses import replace

from flows.backfill.grid import Grid
from flows.facts.flow_run import FlowOutcome, FlowRunSummary
from flows.terminal import figures
from flows.terminal.marked import Code, Facts, Marked
from pipeline import units
from pipeline.config import RunConfig

#: Outcomes by the exit code of the grid.
_OUTCOMES = {0: FlowOutcome.COMPLETE, 3: FlowOutcome.QUARANTINE, 143: FlowOutcome.STOPPED}


def backfill_facts(grid: Grid, config: RunConfig, seconds: float) -> Facts:
    """What was embedded in the partitions that ran."""
    ran = [row for row in grid.rows if row.exit_code is not None]
    embedded, quarantined = sum(row.embedded for row in ran), sum(row.quarantined for row in ran)
    yield "embedded", f"{embedded:,} records, {quarantined:,} quarantined, in {units.count(len(ran), 'partition')}"
    yield "time", figures.duration(seconds)
    yield "speed", f"{figures.rate((embedded + quarantined) / max(seconds, 1e-9))} records/s"
    yield "model", Marked(Code(config.model.name))
    yield "source", Marked(Code(", ".join(config.source.uris)))
    yield "output", Marked(Code(config.output.uri))
    for note in grid.notes:
        yield "note", note


def backfill_ended(base: FlowRunSummary, grid: Grid, dry_run: bool) -> FlowRunSummary:
    """`base` with the end of a backfill."""
    outcome = FlowOutcome.DRY_RUN if dry_run else _outcome(grid)
    return replace(
        base,
        outcome=outcome,
        data=_data(grid),
        reason="" if outcome.succeeded else _reason(grid),
        details=tally(grid),
        next_step=_next_step(outcome, grid, base.status_command),
        progress="",
    )


def _outcome(grid: Grid) -> FlowOutcome:
    if all(row.exit_code is None for row in grid.rows) and not grid.exit_code:
        return FlowOutcome.NOTHING_TO_DO
    return _OUTCOMES.get(grid.exit_code, FlowOutcome.FAILED)


def _reason(grid: Grid) -> str:
    bad = next((row for row in grid.rows if row.exit_code and row.message), None)
    return grid.failure or (f"{bad.key}: {bad.message}" if bad else "")


def _data(grid: Grid) -> str:
    ran = [row for row in grid.rows if row.exit_code is not None]
    embedded, quarantined = sum(row.embedded for row in ran), sum(row.quarantined for row in ran)
    counts = f"{embedded:,} records embedded and {quarantined:,} quarantined by this run" if ran else ""
    left = ", ".join(f"{count:,} {status}" for status, count in grid.tally().items() if status not in ("done", "empty"))
    if grid.failure:
        return "unchanged: no files were found"
    word = f"incomplete: partitions {left}" if left else "complete: every partition is done or empty"
    return "; ".join(filter(None, (word, counts)))


def _next_step(outcome: FlowOutcome, grid: Grid, status: str) -> str:
    if outcome is FlowOutcome.DRY_RUN:
        return "Run the deployment without `dry_run`."
    if outcome is FlowOutcome.QUARANTINE:
        return f"`{status}` lists the reasons: fix the source, or raise `output.max_quarantine`."
    if not outcome.succeeded:
        return "Remove the cause, then run the deployment again with the same parameters; done partitions are skipped."
    later = grid.tally()["later"]
    return "Run the deployment again: the limit left due partitions for later." if later else "Nothing."


def tally(grid: Grid) -> str:
    """`14 partitions: 12 done, 1 empty, 1 failed`."""
    return f"{units.count(len(grid.rows), 'partition')}: {counts(grid) or 'none'}"


def counts(grid: Grid) -> str:
    """`12 done, 1 empty, 1 failed`."""
    return ", ".join(f"{count:,} {status}" for status, count in grid.tally().items())
