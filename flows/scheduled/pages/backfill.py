"""The report of a backfill in markdown, and its verdict in a line. Pure: a grid in, text out."""

from __future__ import annotations

from flows.backfill.grid import Grid
from flows.scheduled.pages.markup import bash, table
from flows.terminal import figures
from pipeline.config import RunConfig

#: Rows that a person looks through; those that are well are counted only.
_MOST_ROWS = 100


def backfill_verdict(grid: Grid) -> str:
    """`14 partitions: 12 done, 1 empty, 1 failed: 2026-11-03: the first reason`."""
    tally = ", ".join(f"{count} {status}" for status, count in grid.tally().items())
    bad = next((row for row in grid.rows if row.exit_code and row.message), None)
    return ": ".join([f"{len(grid.rows)} partitions", tally, *([f"{bad.key}: {bad.message}"] if bad else [])])


def backfill_report(title: str, grid: Grid, config: RunConfig, seconds: float, command: str) -> str:
    """The whole page: what became of the partitions, which of them need a person, `command` to run it again."""
    ran = [row for row in grid.rows if row.exit_code is not None]
    embedded, quarantined = sum(row.embedded for row in ran), sum(row.quarantined for row in ran)
    facts = [
        ("embedded", f"{embedded:,} records, {quarantined:,} quarantined, in {len(ran)} partitions"),
        ("time", figures.duration(seconds)),
        ("speed", f"{figures.rate((embedded + quarantined) / max(seconds, 1e-9))} records/s"),
        ("model", f"`{config.model.name}`"),
        ("source", ", ".join(f"`{uri}`" for uri in config.source.uris)),
        ("output", f"`{config.output.uri}`"),
        *(("note", note) for note in grid.notes),
    ]
    parts = [f"# {title}", backfill_verdict(grid), table(facts[0], facts[1:])]
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
