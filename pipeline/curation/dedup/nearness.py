"""Near vectors of a dataset: what is known from earlier runs, what is new against all, and both kept for the next run.

In: gathered rows with a vector. Out: the near pairs among the distinct vectors. Rows that were made from the same bytes
or the same text have one vector between them, that of the first row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.curation.dedup.cells import Cells, Places, train
from pipeline.curation.dedup.neighbours import Each, Pairs, lay_out, near_pairs, place_all, to_compare
from pipeline.curation.dedup.rows import VECTOR_KEYS, Numbers, Rows
from pipeline.curation.dedup.settings import digest
from pipeline.curation.dedup.state import Known, read_state, state_uri, write_state

#: Cells that were made for a quarter of the vectors are too few.
_GROWTH = 4
_FORMAT = 1

Tell = Callable[[str, int, int | None], None]


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


def search(out: str, rows: Rows, wanted: Search, each: Each, tell: Tell) -> Found:
    """All near pairs in `rows`, and the state at `out` brought up to them."""
    key, uri = VECTOR_KEYS[wanted.vector], state_uri(out, wanted.name)
    firsts = rows.firsts(key)
    distinct = np.unique(firsts[firsts >= 0])
    known = read_state(uri, rows, key, distinct)
    new, compared = int(known.is_new.sum()), 0
    if new:
        known, compared = _extended(rows, known, distinct, wanted, each, tell)
    if new or known.count != len(distinct):
        write_state(uri, _keys(rows, key, distinct), known)
    return Found(firsts, known.pairs, len(distinct), new, compared)


def _extended(rows: Rows, known: Known, distinct: Numbers, wanted: Search, each: Each, tell: Tell) -> tuple[Known, int]:
    """What is known once the new vectors were compared with all, and how many pairs that took."""
    vectors = rows.matrix(wanted.vector)
    cells, places, trained_on = known.cells, known.places, known.trained_on
    if cells is None or len(distinct) > _GROWTH * trained_on:
        tell("Making cells", 0, None)
        cells, trained_on = train(vectors, distinct), len(distinct)
        places = _placed(cells, vectors, distinct, wanted.reach, each, tell)
    else:
        fresh = np.flatnonzero(known.is_new)
        places = _merged(places, _placed(cells, vectors, distinct[fresh], wanted.reach, each, tell), fresh)
    path = rows.work.path("cells.f32")
    laid = lay_out(path, vectors, distinct, places.home, known.is_new)
    total, done = to_compare(laid, places, known.is_new), 0

    def on_done(compared: int) -> None:
        nonlocal done
        done += compared
        tell("Comparing vectors", done, total)

    pairs = near_pairs(laid, places, known.is_new, wanted.threshold, each, on_done)
    Path(path).unlink()
    pairs = Pairs.of([known.pairs.near(), pairs.near()])
    return Known(cells, trained_on, known.count, places, known.is_new, pairs), done


def _placed(cells: Cells, vectors: np.ndarray, rows: Numbers, reach: float, each: Each, tell: Tell) -> Places:
    return place_all(cells, vectors, rows, reach, each, lambda done: tell("Placing vectors", done, len(rows)))


def _merged(places: Places, fresh: Places, numbers: Numbers) -> Places:
    """Places of all vectors from those of the old ones and of the new ones, which have these numbers."""
    home = places.home.copy()
    home[numbers] = fresh.home
    guest = np.concatenate([places.guest, numbers[fresh.guest]])
    order = np.argsort(guest, kind="stable")
    return Places(home, guest[order], np.concatenate([places.visited, fresh.visited])[order])


def _keys(rows: Rows, key: str, distinct: Numbers) -> Iterator[pa.Array]:
    rows.work.register("distinct_rows", pa.table({"row": distinct}))
    for batch in rows.work.batches(f"SELECT {key} AS key FROM rows JOIN distinct_rows USING (row) ORDER BY row"):
        yield batch["key"]
