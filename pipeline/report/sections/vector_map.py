"""The map of the vectors: a sample of rows as points on a plane, for people to look at and to pick from.

In: the vectors of images, or of texts if there are no images. Out: two layouts with figures that say how far to trust
them, and what points can be coloured by. The number of points and the bytes of their ids are bounded; coordinates have
16 bits.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.curation.vectors import IMAGE, KEY, TEXT, Vectors, matrix
from pipeline.pages.shared import LANGUAGES
from pipeline.report.columns.profile import ColumnProfile
from pipeline.report.material import Material
from pipeline.report.pictures import Key, Picture, ShownRow
from pipeline.report.plane.colours import Colour, colours, few_valued
from pipeline.report.plane.directions import main_directions
from pipeline.report.plane.neighbours import NEAR, kept_neighbours, nearest, neighbour_plane
from pipeline.report.quantities import brief
from pipeline.report.wording import Phrase, say
from pipeline.visible import visible

MOST_POINTS = 4000
#: Fewer rows have no structure to look at.
_LEAST_POINTS = 12
_READ_ROWS = 16_384
_ID_BYTES, _CAPTION_CHARACTERS = 500_000, 40
_DIRECTIONS, _PICTURE_CELLS, _MOST_PICTURES = 50, 15, 160
_SAYINGS = ("picked", "none", "copied", "not_copied", "more", "no_picture", "keys")


@dataclass(frozen=True, slots=True)
class MapSection:
    """The section.

    Attributes:
        vector: `image` or `text`: the vectors on it.
        points: rows that are shown, of `rows` rows.
        shares: share of the variance of each of the two main directions.
        kept: share of the nearest rows that are also among the nearest on the plane: of neighbours, of directions.
        colours: what points can be coloured by.
        pictures: rows with a picture, spread over the map.
        data: for the script.
    """

    vector: str
    points: int
    rows: int
    shares: tuple[float, float]
    kept: tuple[float, float]
    colours: list[Colour]
    pictures: list[ShownRow]
    data: dict[str, Any]

    def for_script(self, album: dict[Key, Picture]) -> dict[str, Any]:
        """Everything that the script needs, with the pictures by the place of their point."""
        found = [(place, album.get(row.key)) for place, row in zip(self.data["shown"], self.pictures, strict=True)]
        return {**self.data, "pictures": {place: one.uri for place, one in found if one and one.uri}}


def vector_map(material: Material, profiles: Sequence[ColumnProfile]) -> MapSection | None:
    """The section; None if there are too few vectors."""
    column = IMAGE if material.has(IMAGE) else TEXT
    if not material.has(column) or material.rows < _LEAST_POINTS:
        return None
    few = few_valued(profiles)
    rows = _sample(material, column, few)
    if rows.num_rows < _LEAST_POINTS:
        return None
    material.on_phase(f"placing {rows.num_rows:,} vectors on a plane", 0, None)
    vectors = matrix(rows[column])
    directions = main_directions(vectors, _DIRECTIONS)
    near = nearest(vectors, min(NEAR, len(vectors) - 1))
    plane = main_directions(neighbour_plane(near, directions), 2).coordinates  # the longer side across
    layouts = [plane, directions.coordinates[:, :2]]
    rows = rows.drop([column])
    shown = _spread(layouts[0]) if column == IMAGE else []
    coloured = colours(material, rows, few)
    data = {
        **_rows(rows),
        "layouts": [_quantised(layout) for layout in layouts],
        "colours": [colour.for_script() for colour in coloured],
        "shown": shown,
        "words": {name: _both(say(f"map.{name}", n="#")) for name in _SAYINGS},
    }
    shares = [*directions.shares[:2], 0.0, 0.0]
    return MapSection(
        vector=column.removesuffix("_embedding"),
        points=rows.num_rows,
        rows=material.rows,
        shares=(float(shares[0]), float(shares[1])),
        kept=(kept_neighbours(near, layouts[0]), kept_neighbours(near, layouts[1])),
        colours=coloured,
        pictures=[_shown(row) for row in rows.select(KEY).take(pa.array(shown, pa.int64())).to_pylist()],
        data=data,
    )


def _sample(material: Material, vector: str, few: Sequence[str]) -> pa.Table:
    """Rows with a vector, spread evenly over the dataset."""
    names = [name for name in ("id", "source_fingerprint", "text", "similarity", vector) if material.has(name)]
    places = material.current.sample(_READ_ROWS)
    tables = material.current.read([*names, *few, "run_date"], places)
    rows = pa.concat_tables(table.filter(table[vector].is_valid()) for table in tables).combine_chunks()
    ids = sum(len(id_.encode()) for id_ in rows["id"].to_pylist())
    most = min(MOST_POINTS, rows.num_rows, int(_ID_BYTES * rows.num_rows / max(ids, 1)))
    return rows.take(pa.array(np.arange(most, dtype=np.int64) * rows.num_rows // max(most, 1)))


def _rows(rows: pa.Table) -> dict[str, Any]:
    texts = rows["text"].to_pylist() if "text" in rows.column_names else [None] * rows.num_rows
    return {"ids": rows["id"].to_pylist(), "texts": [visible(brief(text, _CAPTION_CHARACTERS)) for text in texts]}


def _shown(row: dict[str, Any]) -> ShownRow:
    return ShownRow(str(row["id"]), str(row["source_fingerprint"]))


def _quantised(points: Vectors) -> dict[str, Any]:
    """Coordinates from 0 to 65535 as base64 of little-endian 16-bit numbers, and the height as a share of the width."""
    size = np.maximum(np.ptp(points, axis=0).astype(np.float64), 1e-12)
    whole = np.rint((points - points.min(0)) / size * 65535).astype("<u2")
    coordinates = {axis: _base64(whole[:, place]) for place, axis in enumerate("xy")}
    return {**coordinates, "height": float(np.clip(size[1] / size[0], 0.01, 100))}


def _base64(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _spread(points: Vectors) -> list[int]:
    """Places of points that cover the map: the first in each cell of a grid."""
    low, size = points.min(0), np.ptp(points, axis=0)
    cells = ((points - low) / np.where(size > 0, size, 1) * (_PICTURE_CELLS - 1e-3)).astype(int)
    _, firsts = np.unique(cells[:, 0] * _PICTURE_CELLS + cells[:, 1], return_index=True)
    return [int(place) for place in np.sort(firsts)[:_MOST_PICTURES]]


def _both(phrase: Phrase) -> list[str]:
    return [phrase.text(language) for language in LANGUAGES]
