"""Prints the quality of a classification: the measures, then the worst classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from flows.terminal.panels import panel
from flows.terminal.plain import plain
from flows.terminal.whole import print_table
from pipeline.curation.classify.report import ClassificationReport, ClassReport
from pipeline.curation.evaluate.published import Figure

SHOWN = 20


def show_report(report: ClassificationReport, published: Sequence[Figure], console: Console) -> None:
    """Print the report; `--json` and `--report` have every class and the whole confusion matrix."""
    print_table(panel("zero-shot accuracy", _measures(report, published)), console)
    met = [entry for entry in report.classes if entry.support]
    worst = sorted(met, key=lambda entry: (entry.f1, -entry.support))[:SHOWN]
    title = "classes" if len(met) <= SHOWN else f"the {SHOWN} classes with the lowest F1, of {len(met):,} with images"
    print_table(_classes(worst, title), console)


def _measures(report: ClassificationReport, published: Sequence[Figure]) -> Iterator[tuple[str, object]]:
    yield "images", f"{report.rows:,} with a known class"
    yield "accuracy", percent(report.accuracy)
    for figure in published:
        yield "published", f"{figure.top1:.1f} % by {figure.model} on {figure.set} ({figure.source})"
    if report.top5 is not None:
        yield "top-5", percent(report.top5)
    yield "per class", f"{percent(report.mean_per_class)} (mean of the classes' recalls)"
    if report.rows_without_truth:
        yield "left out", f"{report.rows_without_truth:,} images without a truth"
    if report.rows_of_no_class:
        yield "left out", f"{report.rows_of_no_class:,} images whose truth is none of the classes"


def _classes(entries: list[ClassReport], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2), header_style="dim")
    table.add_column("label", overflow="fold")
    for name in ("images", "precision", "recall", "F1"):
        table.add_column(name, justify="right")
    table.add_column("taken for", overflow="fold")
    for entry in entries:
        table.add_row(
            plain(entry.label),
            f"{entry.support:,}",
            *(percent(value) for value in (entry.precision, entry.recall, entry.f1)),
            plain("" if entry.confused_with is None else f"{entry.confused_with} ({entry.confused_count:,})"),
        )
    return table


def percent(share: float | None) -> str:
    """`0.4831` -> `48.31 %`; a dash for nothing."""
    return "-" if share is None else f"{100 * share:.2f} %"
