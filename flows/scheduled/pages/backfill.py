"""Renders a backfill's grid as a report in markdown."""

from __future__ import annotations

from flows.backfill.grid import Grid
from flows.facts.backfill import backfill_facts
from flows.facts.flow_run import FlowRunSummary
from flows.scheduled.pages.markup import bash, fact_table, table
from pipeline.config import RunConfig

#: Failed partitions that are listed; the others are only counted.
_MOST_ROWS = 100


def backfill_report(ended: FlowRunSummary, grid: Grid, config: RunConfig, seconds: float, command: str) -> str:
    """The whole page: counts, the partitions that need attention, and `command` to run the backfill again."""
    parts = [f"# Backfill: {ended.outcome}", ended.message, fact_table(backfill_facts(grid, config, seconds))]
    bad = [row for row in grid.rows if row.exit_code or row.status == "failed"]
    if bad:
        rows = [(row.key, row.status, row.message) for row in bad[:_MOST_ROWS]]
        parts += ["## Needs attention", table(("partition", "status", "why"), rows)]
    parts += [
        "## Run it again",
        "Finished partitions are skipped; failed ones and those not started are run. In Prefect: run the deployment "
        "again with the same parameters. In a shell:",
        bash(command),
    ]
    return "\n\n".join(parts) + "\n"
