"""The facts of a backfill."""

from __future__ import annotations

from flows.backfill.grid import Grid
from flows.terminal import figures
from flows.terminal.marked import Code, Facts, Marked
from pipeline.config import RunConfig


def backfill_facts(grid: Grid, config: RunConfig, seconds: float) -> Facts:
    """What was embedded in the partitions that ran."""
    ran = [row for row in grid.rows if row.exit_code is not None]
    embedded, quarantined = sum(row.embedded for row in ran), sum(row.quarantined for row in ran)
    yield "embedded", f"{embedded:,} records, {quarantined:,} quarantined, in {len(ran):,} partitions"
    yield "time", figures.duration(seconds)
    yield "speed", f"{figures.rate((embedded + quarantined) / max(seconds, 1e-9))} records/s"
    yield "model", Marked(Code(config.model.name))
    yield "source", Marked(Code(", ".join(config.source.uris)))
    yield "output", Marked(Code(config.output.uri))
    for note in grid.notes:
        yield "note", note


def tally(grid: Grid) -> str:
    """`14 partitions: 12 done, 1 empty, 1 failed`."""
    return f"{len(grid.rows):,} partitions: {counts(grid) or 'none'}"


def counts(grid: Grid) -> str:
    """`12 done, 1 empty, 1 failed`."""
    return ", ".join(f"{count:,} {status}" for status, count in grid.tally().items())
