"""Near vectors of a dataset: what is known from earlier runs, what is new against all, and both kept for the next run.

In: gathered rows with a vector. Out: the near pairs among the distinct vectors. Rows that were made from the same
pixels or the same text have one vector between them, that of the first row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.curation.dedup.pairs.cells import Places, train
from pipeline.curation.dedup.pairs.neighbours import Each, Pairs, lay_out, near_pairs, place_all, tiles, to_compare
from pipeline.curation.dedup.pairs.shadows import cast_all, light
from pipeline.curation.dedup.pairs.state import Known, Space, read_state, state_uri, write_state
from pipeline.curation.dedup.rows import VECTOR_KEYS, Numbers, Rows
from pipeline.curation.dedup.settings import digest
from pipeline.phases import OnPhase, counted

#: Cells that were made for a quarter of the vectors are too few.
_GROWTH = 4
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Search:
    """Which pairs are near, and how they are sought.

    Attributes:
        vector: name of the column.
        threshold: least cosine.
        border: see `DedupSettings.border`.
    """

    vector: str
    threshold: float
    border: float

    @property
    def name(self) -> str:
        """Of its state."""
        return f"{self.vector}-{digest(threshold=self.threshold, border=self.border, format=_FORMAT)}"

    @property
    def reach(self) -> float:
        """How near to a border a vector visits the cell behind it."""
        return self.border * sqrt(2 - 2 * self.threshold)


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search.

    Attributes:
        firsts: of every row the first one with the same vector; -1 without one.
        pairs: near pairs of distinct vectors, numbered in the order of their first rows.
        vectors: how many distinct vectors there are.
        new: how many of the vectors no earlier run had seen.
        compared: pairs looked at.
    """

    firsts: Numbers
    pairs: Pairs
    vectors: int
    new: int
    compared: int


def search(out: str, rows: Rows, wanted: Search, each: Each, on_phase: OnPhase) -> Found:
    """All near pairs in `rows`, and the state at `out` brought up to them."""
    key, uri = VECTOR_KEYS[wanted.vector], state_uri(out, wanted.name)
    firsts = rows.firsts(key)
    distinct = np.unique(firsts[firsts >= 0])
    known = read_state(uri, rows, key, distinct)
    new, compared = int(known.is_new.sum()), 0
    stale = bool(new) or known.count != len(distinct)
    if new or (stale and known.space is None and len(distinct)):
        known, compared = _extended(rows, known, distinct, wanted, each, on_phase)
    if stale and known.space:
        write_state(uri, _keys(rows, key, distinct), known)
    return Found(firsts, known.pairs, len(distinct), new, compared)


def _extended(
    rows: Rows, known: Known, distinct: Numbers, wanted: Search, each: Each, on_phase: OnPhase
) -> tuple[Known, int]:
    """What is known once the new vectors were compared with all, and how many pairs that took."""
    vectors = rows.matrix(wanted.vector)
    space, to_place, trained_on = known.space, np.flatnonzero(known.is_new), known.trained_on
    if space is None or len(distinct) > _GROWTH * trained_on:
        space, to_place, trained_on = None, np.arange(len(distinct)), len(distinct)
    on_phase("Casting shadows", 0, None)
    lamp = light(vectors, distinct, wanted.threshold) if space is None else space.lamp
    shadows = cast_all(rows.work.path("shadows.f32"), lamp, vectors, distinct)
    on_phase("Making cells", 0, None)
    cells = train(shadows) if space is None else space.cells
    placed = place_all(
        cells, shadows, to_place, wanted.reach, each, counted(on_phase, "Placing vectors", len(to_place))
    )
    places = _merged(known.places, placed, to_place) if len(to_place) < len(distinct) else placed
    laid = lay_out(rows.work.path("cells.f32"), shadows, places.home, len(cells.centroids), known.is_new)
    total, compared = to_compare(laid, places, known.is_new), 0

    def on_pairs(pairs: int) -> None:
        nonlocal compared
        compared += pairs
        on_phase("Comparing vectors", compared, total)

    work = tiles(laid, places, known.is_new)
    pairs = near_pairs(work, vectors, distinct, wanted.threshold, each, on_pairs)
    for name in ("shadows.f32", "cells.f32"):
        Path(rows.work.path(name)).unlink()
    pairs = Pairs.of([known.pairs.near(), pairs.near()])
    return Known(Space(lamp, cells), trained_on, known.count, places, known.is_new, pairs), compared


def _merged(places: Places, fresh: Places, numbers: Numbers) -> Places:
    """Places of all vectors from those of the old ones and of the new ones, which have these numbers."""
    home = places.home.copy()
    home[numbers] = fresh.home
    guest = np.concatenate([places.guest, numbers[fresh.guest].astype(np.int32)])
    order = np.argsort(guest, kind="stable")
    return Places(home, guest[order], np.concatenate([places.visited, fresh.visited])[order])


def _keys(rows: Rows, key: str, distinct: Numbers) -> Iterator[pa.Array]:
    rows.work.register("distinct_rows", pa.table({"row": distinct}))
    for batch in rows.work.batches(f"SELECT {key} AS key FROM rows JOIN distinct_rows USING (row) ORDER BY row"):
        yield batch["key"]
