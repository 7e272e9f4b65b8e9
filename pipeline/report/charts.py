"""Charts as plain values, for templates to draw as inline SVG.

In: counts. Out: bars in percent of the tallest, and ticks in percent of the width, so that the drawing scales and the
text stays readable on any screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report.wording import Phrase, say


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: `height` 0 to 100, and a tooltip."""

    height: float
    title: Phrase


@dataclass(frozen=True, slots=True)
class Tick:
    """A label at `at` percent of the width."""

    at: float
    label: Phrase | str


@dataclass(frozen=True, slots=True)
class Chart:
    """A histogram, or bars in order of time.

    Attributes:
        label: description for screen readers.
        bars: from left to right.
        ticks: labels below.
        axis: meaning and unit of the labels.
        top: value of the tallest bar.
    """

    label: Phrase
    bars: list[Bar]
    ticks: list[Tick]
    axis: Phrase
    top: Phrase


def bars(values: Sequence[float], titles: Sequence[Phrase]) -> list[Bar]:
    """Bars in proportion; any value above zero is visible."""
    most = max(values, default=0) or 1
    return [Bar(max(1.0, 100 * v / most) if v else 0.0, title) for v, title in zip(values, titles, strict=True)]


def histogram(label: Phrase, axis: Phrase, edges: Sequence[float], counts: Sequence[int], digits: int) -> Chart:
    """A histogram with `len(counts) + 1` edges; all bins are drawn equally wide."""
    names = [f"{edge:,.{digits}f}".replace("-", "\N{MINUS SIGN}") for edge in edges]
    titles = [
        say("units.range", low=low, high=high, count=n) for low, high, n in zip(names, names[1:], counts, strict=False)
    ]
    ticks = [Tick(100 * i / len(counts), names[i]) for i in _labelled(edges)]
    return Chart(label, bars(counts, titles), ticks, axis, say("units.tallest", rows=max(counts, default=0)))


def _labelled(edges: Sequence[float]) -> range:
    """Indices of the edges with a label: about six, at round numbers if all bins are equally wide."""
    width = edges[1] - edges[0]
    if len(edges) < 9 or not math.isclose(edges[-1] - edges[0], width * (len(edges) - 1)):
        return range(0, len(edges), math.ceil((len(edges) - 1) / 8))
    first = round(edges[0] / width)
    unit = 10.0 ** math.floor(math.log10(width * 1.001))
    steps = (max(1, round(unit * factor / width)) for factor in (1, 2, 5, 10, 20, 50, 100))
    every = next(step for step in steps if len(edges) / step <= 8)
    return range(-first % every, len(edges), every)


def nice_edges(least: float, most: float, wanted: int) -> list[float]:
    """Edges at round numbers that cover least to most in about `wanted` bins."""
    width = (most - least or 1e-9) / wanted
    unit = 10.0 ** math.floor(math.log10(width))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= width * 0.999)
    first, last = math.floor(least / step + 1e-9), math.floor(most / step + 1e-9) + 1
    digits = 2 - math.floor(math.log10(step))  # of numbers of any size, small ones too
    return [round(step * i, digits) for i in range(first, last + 1)]
