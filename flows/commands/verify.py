"""`hanclip verify`: audit a dataset and print its problems.

In: the URI of a dataset. Out: stdout, and the exit code 0 if nothing is wrong or missing, else 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from flows.terminal.json_lines import write_json
from flows.terminal.panels import panel
from flows.terminal.whole import print_table
from pipeline import units
from pipeline.dataset.checks.verify import Report, verify

_SHOWN = 20


def show_verify(out: str, as_json: bool) -> int:
    """Audit the dataset at `out`; returns 0 if it is sound and complete, else 1."""
    report = verify(out)
    if as_json:
        write_json("verify", {"ok": report.ok, "complete": report.complete, **asdict(report)})
    else:
        title = (
            "sound and complete" if report.ok and report.complete else "NOT sound" if not report.ok else "incomplete"
        )
        print_table(panel(title, _verified(report)))
    return 0 if report.ok and report.complete else 1


def _verified(report: Report) -> Iterator[tuple[str, object]]:
    yield "dataset", f"{report.uri}, {units.count(report.shards, 'shard')}"
    yield (
        "planned",
        (
            f"{report.planned:,} = {report.embedded:,} embedded + {report.quarantined:,} quarantined"
            f" + {report.missing:,} missing"
        ),
    )
    if report.missing:
        yield "cure", "run the same `hanclip embed` command again: it embeds the missing records"
    if report.replaced:
        yield "replaced", f"{report.replaced:,} quarantined, then changed in the source and planned again"
    if report.abandoned:
        yield (
            "abandoned",
            f"{report.abandoned:,} records of earlier plans that were since removed or changed in the source",
        )
    for problem in report.problems[:_SHOWN]:
        yield "problem", problem
    if len(report.problems) > _SHOWN:
        yield "", f"and {len(report.problems) - _SHOWN:,} more problems; --json has them all"
    for note in report.notes:
        yield "note", note
    if report.replaced_files:
        yield (
            "replaced",
            f"{len(report.replaced_files):,} files that a compaction replaced or has not finished; readers ignore them",
        )
    if report.leftovers:
        yield (
            "leftovers",
            f"{len(report.leftovers):,} files of attempts that crashed or lost a race; harmless: readers ignore them",
        )
