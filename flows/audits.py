"""`hanclip status` and `hanclip verify`: what a dataset holds, shown to a person or as one JSON object.

In: the address of a dataset. Out: stdout, and for `verify` an exit code: 0 when nothing is wrong and nothing missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import typer
from rich.console import Console
from rich.panel import Panel

from flows import figures
from flows.summary import facts
from pipeline.status import Status, status
from pipeline.verify import Report, verify

SHOWN = 20


def show_status(out: str, as_json: bool) -> None:
    """Print how far the dataset at `out` is."""
    found = status(out)
    if as_json:
        identity = json.loads(found.identity.to_json())
        write_json(
            "status", {**{name: getattr(found, name) for name in _COUNTS}, "identity": identity, "runs": _runs(found)}
        )
    else:
        Console(highlight=False).print(Panel(facts(_status(found)), title=f"status of {found.uri}", title_align="left"))


_COUNTS = ("uri", "shards", "rows", "size_bytes", "quarantined")


def _runs(found: Status) -> list[dict[str, Any]]:
    return [asdict(run) for run in found.runs]


def _status(found: Status) -> Iterator[tuple[str, object]]:
    yield "model", f"{found.identity.model}, vectors of {found.identity.dim} {found.identity.embedding_dtype}"
    yield "embedded", f"{found.rows:,} rows in {found.shards:,} shards, {figures.size(found.size_bytes)}"
    yield "quarantined", f"{found.quarantined.total():,} {_in_brackets(figures.by_reason(found.quarantined))}"
    for run in found.runs[:SHOWN]:
        left = run.report.get("rows_left")
        yield f"run {run.run_id}", f"{run.state}{f', {left:,} rows left' if left else ''}"


def _in_brackets(text: str) -> str:
    return f"({text})" if text else ""


def show_verify(out: str, as_json: bool) -> int:
    """Audit the dataset at `out`: 0 when it is sound and complete, else 1."""
    report = verify(out)
    if as_json:
        write_json("verify", {"ok": report.ok, "complete": report.complete, **asdict(report)})
    else:
        title = (
            "sound and complete" if report.ok and report.complete else "NOT sound" if not report.ok else "incomplete"
        )
        Console(highlight=False).print(Panel(facts(_verified(report)), title=title, title_align="left"))
    return 0 if report.ok and report.complete else 1


def _verified(report: Report) -> Iterator[tuple[str, object]]:
    yield "dataset", f"{report.uri}, {report.shards:,} shards"
    yield (
        "planned",
        (
            f"{report.planned:,} = {report.embedded:,} embedded + {report.quarantined:,} quarantined"
            f" + {report.missing:,} missing"
        ),
    )
    if report.missing:
        yield "cure", "run the same `hanclip embed` command again: it embeds what is missing"
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


def write_json(event: str, values: dict[str, Any]) -> None:
    """Print one JSON object on one line."""
    typer.echo(json.dumps({"event": event, **values}, ensure_ascii=False, default=str))
