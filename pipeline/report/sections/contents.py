"""Sizes and formats of images, lengths and repetitions of texts.

In: the current rows. Out: histograms and short tables over all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.curation.computed import SUFFIX
from pipeline.report.charts import Chart, histogram
from pipeline.report.material import Material
from pipeline.report.wording import Phrase, listed, say

_SIDES = [0, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192]
_SHAPES = [0.2, 0.33, 0.5, 0.67, 0.8, 0.95, 1.05, 1.25, 1.5, 2, 3, 5]
_LENGTHS = [0, 1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256]
_LISTED = 8
#: Sides below which images are counted if the preprocessing does not contain the model's input size.
_SMALL = (56, 112, 224)
_FORMAT = f"upper(coalesce(nullif(regexp_extract(lower(image_uri), '{SUFFIX}', 1), ''), 'unknown'))"


@dataclass(frozen=True, slots=True)
class Share:
    """A value and how many rows have it."""

    name: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class ImagesSection:
    """Sizes in pixels and formats. `below`: how many rows have a shorter side below some numbers of pixels."""

    sides: Chart
    shapes: Chart
    formats: list[Share]
    sizes: list[Share]
    distinct_sizes: int
    median_side: int
    below: Phrase | str


@dataclass(frozen=True, slots=True)
class TextsSection:
    """Lengths and repetitions of captions."""

    lengths: Chart
    without: int
    distinct: int
    repeated: list[Share]


def images(material: Material) -> ImagesSection | None:
    """The section; None without images."""
    if not (material.has("image_width") and material.rows):
        return None
    distinct, median = material.one(
        "SELECT count(DISTINCT (image_width, image_height)), median(least(image_width, image_height)) FROM facts"
    )
    sides = (say("images.sides"), say("images.sides_axis"))
    shapes = (say("images.shapes"), say("images.shapes_axis"))
    return ImagesSection(
        sides=_histogram(material, *sides, "least(image_width, image_height)", _SIDES, 0),
        shapes=_histogram(material, *shapes, "image_width / image_height", _SHAPES, 2),
        formats=_shares(material, _FORMAT),
        sizes=_shares(material, "image_width || ' × ' || image_height"),
        distinct_sizes=int(distinct),
        median_side=int(median),
        below=listed(_below(material, side) for side in _small(material.dataset.identity.preprocessing)),
    )


def _small(preprocessing: str) -> tuple[int, ...]:
    """A quarter, a half and the whole of the side of the model's input: `squash-bicubic-64/...` -> 16, 32, 64."""
    found = re.match(r"squash-bicubic-(\d+)", preprocessing)
    return tuple(int(found[1]) // part for part in (4, 2, 1)) if found else _SMALL


def _below(material: Material, side: int) -> Phrase:
    [rows] = material.one(f"SELECT count(*) FROM facts WHERE least(image_width, image_height) < {side}")
    return say("images.below", rows=int(rows), side=side)


def texts(material: Material) -> TextsSection | None:
    """The section; None without texts."""
    if not (material.has("text") and material.rows):
        return None
    without, distinct = material.one("SELECT count(*) FILTER (text IS NULL), count(DISTINCT text) FROM facts")
    repeated = [share for share in _shares(material, "text") if share.count > 1]
    lengths = _histogram(material, say("texts.lengths"), say("texts.axis"), "length(text)", _LENGTHS, 0)
    return TextsSection(lengths, int(without), int(distinct), repeated)


def _histogram(
    material: Material, label: Phrase, axis: Phrase, value: str, edges: list[float] | list[int], digits: int
) -> Chart:
    """Rows by a value, in bins with these edges; the outer bins include everything beyond them."""
    inner = ", ".join(str(edge) for edge in edges[1:-1])
    rows = material.work.rows(
        f"SELECT len(list_filter([{inner}], lambda edge: edge <= v)), count(*) "
        f"FROM (SELECT {value} AS v FROM facts) WHERE v IS NOT NULL GROUP BY ALL"
    )
    found = {int(place): int(n) for place, n in rows}
    counts = [found.get(i, 0) for i in range(len(edges) - 1)]
    filled = [i for i, n in enumerate(counts) if n] or [0]
    low, high = max(0, filled[0] - 1), min(len(counts), filled[-1] + 2)
    return histogram(label, axis, edges[low : high + 1], counts[low:high], digits)


def _shares(material: Material, value: str) -> list[Share]:
    rows = material.work.rows(
        f"SELECT {value} AS v, count(*) AS n FROM facts WHERE v IS NOT NULL GROUP BY v "
        f"ORDER BY n DESC, v LIMIT {_LISTED}"
    )
    return [Share(str(name), int(n), int(n) / material.rows) for name, n in rows]
