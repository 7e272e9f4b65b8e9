"""`hanclip verify`: audits a dataset and shows what is wrong.

In: the address of a dataset. Out: stdout, and an exit code: 0 when nothing is wrong and nothing missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Console

from flows.commands.status import SHOWN
from flows.terminal import figures
from flows.terminal.json_lines import write_json
from flows.terminal.panels import panel
from pipeline.dataset.checks.verify import Report, verify


def show_verify(out: str, as_json: bool) -> int:
    """Audit the dataset at `out`: 0 when it is sound and complete, else 1."""
    report = verify(out)
    if as_json:
        write_json("verify", {"ok": report.ok, "complete": report.complete, **asdict(report)})
    else:
        title = (
            "sound and complete" if report.ok and report.complete else "NOT sound" if not report.ok else "incomplete"
        )
        Console(highlight=False).print(panel(title, _verified(report)))
    return 0 if report.ok and report.complete else 1


def _verified(report: Report) -> Iterator[tuple[str, object]]:
    yield "dataset", f"{report.uri}, {figures.count(report.shards, 'shard')}"
    yield (
        "planned",
        (
            f"{report.planned:,} = {report.embedded:,} embedded + {report.quarantined:,} quarantined"
            f" + {report.missing:,} missing"
        ),
    )
    if report.missing:
        yield "cure", "run the same `hanclip embed` command again: it embeds what is missing"
    if report.replaced:
        yield "replaced", f"{report.replaced:,} quarantined, but changed in the source since and planned anew"
    if report.abandoned:
        yield "abandoned", f"{report.abandoned:,} records of older plans that the source dropped or changed"
    for problem in report.problems[:SHOWN]:
        yield "problem", problem
    if len(report.problems) > SHOWN:
        yield "", f"and {len(report.problems) - SHOWN:,} more problems; --json has them all"
    if report.leftovers:
        yield (
            "leftovers",
            f"{len(report.leftovers):,} files of attempts that died or lost; harmless, no reader counts them",
        )
