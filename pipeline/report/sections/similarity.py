"""Similarity of images and texts: a histogram, quantiles, and rows from both ends and the middle.

In: the current rows with a similarity. Out: the histogram and quantiles over all of them, and rows to show.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.report.bins import binned
from pipeline.report.charts import Chart, histogram, nice_edges
from pipeline.report.material import Material
from pipeline.report.pictures import ShownRow
from pipeline.report.wording import say

SHOWN = 18
_BINS = 60
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class SimilaritySection:
    """The section. `quantiles` are pairs of percentage and value."""

    rows: int
    without: int
    chart: Chart
    quantiles: list[tuple[float, float]]
    lowest: list[ShownRow]
    median: list[ShownRow]
    highest: list[ShownRow]


def similarity(material: Material) -> SimilaritySection | None:
    """The section; None if no row has a similarity."""
    if not material.has("similarity"):
        return None
    rows, least, most = material.one("SELECT count(similarity), min(similarity), max(similarity) FROM facts")
    if not rows:
        return None
    edges = nice_edges(least, most, _BINS)
    counts, _ = binned(material.work, "similarity", "facts", edges)
    [values] = material.one(f"SELECT quantile_cont(similarity, {list(_QUANTILES)}) FROM facts")
    middle = values[_QUANTILES.index(0.5)]
    return SimilaritySection(
        rows=int(rows),
        without=material.rows - int(rows),
        chart=histogram(say("similarity.chart"), say("similarity.axis"), edges, counts, 2),
        quantiles=[(100 * part, value) for part, value in zip(_QUANTILES, values, strict=True)],
        lowest=_wall(material, "similarity"),
        median=_wall(material, f"abs(similarity - {middle!r})"),
        highest=_wall(material, "-similarity"),
    )


def _wall(material: Material, order: str) -> list[ShownRow]:
    return material.wall(order, SHOWN, "similarity IS NOT NULL")
