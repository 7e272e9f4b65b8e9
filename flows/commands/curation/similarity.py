"""`hanclip similarity OUT`: write the similarity of all pairs, and print what cosines mean in this dataset.

In: the URI of a dataset. Out: the table; a bar on stderr, percentiles with an example of each on stdout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.terminal.bars import phase_bar
from flows.terminal.json_lines import write_json
from flows.terminal.panels import panel
from flows.terminal.plain import line, plain
from flows.terminal.whole import print_table
from pipeline.curation.similarity.table import Point, SimilaritySummary, survey, write_similarity
from pipeline.curation.vectors import IMAGE, TEXT, require_vectors
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset

SHOWN_TEXT = 200


def write(out: str, dry_run: bool, as_json: bool) -> None:
    """Write the table of the dataset at `out`; with `dry_run` only print what it would hold."""
    if dry_run:
        _plan(out, as_json)
        return
    with phase_bar("Reading the similarities", silent=as_json) as on_phase:
        summary = write_similarity(out, on_phase)
    if as_json:
        write_json("similarity", {"dry_run": False, **asdict(summary)})
    else:
        _show(summary)


def _plan(out: str, as_json: bool) -> None:
    dataset = Dataset.open(out)
    require_vectors(dataset, IMAGE, TEXT)
    found = survey(out)
    plan = {"table": layout.similarity_uri(dataset.uri), "rows": found.rows, "pairs": len(found.cosines)}
    if as_json:
        write_json("similarity", {"dry_run": True, **plan})
    else:
        print_table(panel("plan (nothing was written)", plan.items()))


def _show(summary: SimilaritySummary) -> None:
    console = Console(highlight=False)
    print_table(panel("similarities", _facts(summary)), console)
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("percentile", "similarity", "logit", "chance"):
        table.add_column(name, justify="right")
    table.add_column("for example", overflow="fold")
    table.add_column("id", no_wrap=True)
    for point in summary.points:
        table.add_row(*numbers(point.similarity, point.logit, point.percent, point.chance), *_example(point))
    print_table(table, console)


def _facts(summary: SimilaritySummary) -> Iterator[tuple[str, object]]:
    yield "pairs", f"{summary.pairs:,}, of {summary.rows:,} records"
    yield "logit", f"similarity x {summary.logit_scale:.6g}"
    if summary.pairs_sampled:
        yield (
            "chance",
            f"how often the text of another record is at least as similar: {summary.pairs_sampled:,} pairs of "
            f"{summary.records_sampled:,} records, {summary.chance_mean:.3f} ± {summary.chance_std:.3f}",
        )
    yield "table", summary.table


def _example(point: Point) -> tuple[Text, Text]:
    return line(point.text, SHOWN_TEXT), plain(point.id)


def numbers(cosine: float, logit: float, percentile: float | None, chance: float | None) -> tuple[str, str, str, str]:
    """Percentile, cosine, logit and chance as cells of a row."""
    return (
        "-" if percentile is None else f"{percentile:.4g} %",
        f"{cosine:.4f}",
        f"{logit:.2f}",
        "-" if chance is None else f"{100 * chance:.2g} %",
    )
