"""The report of a backfill in markdown, and its verdict in a line. Pure: a grid in, text out."""

from __future__ import annotations

from flows.backfill.grid import Grid
from flows.facts.backfill import backfill_facts, tally
from flows.scheduled.pages.markup import bash, fact_table, table
from pipeline.config import RunConfig

#: Rows that a person looks through; those that are well are counted only.
_MOST_ROWS = 100


def backfill_verdict(grid: Grid) -> str:
    """`14 partitions: 12 done, 1 empty, 1 failed: 2026-11-03: the first reason`."""
    bad = next((row for row in grid.rows if row.exit_code and row.message), None)
    return f"{tally(grid)}: {bad.key}: {bad.message}" if bad else tally(grid)


def backfill_report(title: str, grid: Grid, config: RunConfig, seconds: float, command: str) -> str:
    """The whole page: what became of the partitions, which of them need a person, `command` to run it again."""
    parts = [f"# {title}", backfill_verdict(grid), fact_table(backfill_facts(grid, config, seconds))]
    bad = [row for row in grid.rows if row.exit_code or row.status == "failed"]
    if bad:
        rows = [(row.key, row.status, row.message) for row in bad[:_MOST_ROWS]]
        parts += ["## What needs a person", table(("partition", "status", "why"), rows)]
    parts += [
        "## Run it again",
        "Partitions that are done are left out; those that failed and those that were not begun are run. In Prefect: "
        "run the deployment once more with the same parameters. In a shell:",
        bash(command),
    ]
    return "\n\n".join(parts) + "\n"
