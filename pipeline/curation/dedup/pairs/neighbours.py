"""All near pairs of many vectors: new ones against all, cell by cell.

In: vectors and their shadows on disk, where they belong, and which of them are new. Out: the near pairs that have a new
vector in them. The shadows are laid out on disk in the order of their cells, and only the blocks that are compared are
in memory; of the vectors those are read whose shadows leave a pair open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.curation.dedup.pairs.cells import Cells, Places, joined
from pipeline.curation.dedup.pairs.compare import Near, Open, Tile, compare, cosines, leave_open, settle
from pipeline.curation.dedup.pairs.shadows import blocks
from pipeline.curation.dedup.rows import Mask, Numbers, mapped
from pipeline.curation.vectors import Vectors
from pipeline.phases import OnRows

Item = TypeVar("Item")
Result = TypeVar("Result")

_TILE_ROWS = 4096
_BLOCK_ROWS = 32768
_MERGE_PAIRS = 2**22


class Each(Protocol):
    """Calls a function with each item, here or elsewhere, several at a time perhaps; results in order."""

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """One result for each item."""


def here(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """One after another in this process; the products inside use all its cores."""
    return map(function, items)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Near pairs of vectors by number, first < second, sorted by second; `crowded` had more than are listed."""

    first: Numbers
    second: Numbers
    crowded: Numbers

    @classmethod
    def of(cls, parts: Iterable[Near]) -> Pairs:
        """Gather pairs, each once."""
        none = np.empty(0, np.int64)
        keys, crowded, waiting, count = none, none, [none], 0
        for part in parts:
            low, high = np.minimum(part.first, part.second), np.maximum(part.first, part.second)
            waiting.append(high << 32 | low)
            count += len(low)
            crowded = np.union1d(crowded, part.crowded) if len(part.crowded) else crowded
            if count > _MERGE_PAIRS + len(keys):
                keys, waiting, count = np.unique(np.concatenate([keys, *waiting])), [], 0
        keys = np.unique(np.concatenate([keys, *waiting]))
        return cls(keys & 0xFFFFFFFF, keys >> 32, crowded)

    def near(self) -> Near:
        """The same as a part of more pairs."""
        return Near(self.first, self.second, self.crowded)


def place_all(cells: Cells, shadows: Vectors, numbers: Numbers, reach: float, each: Each, on_rows: OnRows) -> Places:
    """Where the vectors with these numbers belong, by their shadows; `on_rows` counts those placed."""
    slices = list(blocks(len(numbers), _BLOCK_ROWS))
    placing = each(partial(_place, cells, reach), (shadows[numbers[some]] for some in slices))
    parts = []
    for some, part in zip(slices, placing, strict=True):
        parts.append((some.start, part))
        on_rows(some.stop - some.start)
    return joined(parts)


def _place(cells: Cells, reach: float, shadows: Vectors) -> Places:
    return cells.place(shadows, reach)


@dataclass(frozen=True, slots=True)
class Laid:
    """Shadows on disk in the order of their cells, the new ones of a cell first.

    Attributes:
        shadows: (C, S) in that order.
        number: (C,) of each its number.
        start: (K + 1,) where each cell begins.
        new: (K,) how many of a cell are new.
    """

    shadows: Vectors
    number: Numbers
    start: Numbers
    new: Numbers


def lay_out(path: str, shadows: Vectors, home: npt.NDArray[np.int32], cells: int, is_new: Mask) -> Laid:
    """Write the shadows to a file in the order of their cells."""
    number = np.lexsort((~is_new, home))
    with Path(path).open("wb") as file:
        for some in blocks(len(number), _BLOCK_ROWS):
            file.write(shadows[number[some]].tobytes())
    start = np.concatenate([[0], np.cumsum(np.bincount(home, minlength=cells))]).astype(np.int64)
    return Laid(mapped(path, *shadows.shape), number, start, np.bincount(home[is_new], minlength=cells))


def tiles(laid: Laid, places: Places, is_new: Mask) -> Iterator[Tile]:
    """Everything that is to be compared, once at least."""
    position = np.empty(len(laid.number), np.int64)
    position[laid.number] = np.arange(len(laid.number))
    by_cell = np.lexsort((~is_new[places.guest], places.visited))
    guests, visited = places.guest[by_cell], places.visited[by_cell]
    bounds = np.searchsorted(visited, np.arange(len(laid.start)))
    for cell in range(len(laid.start) - 1):
        members = np.arange(laid.start[cell], laid.start[cell + 1])
        fresh, old = np.split(members, [laid.new[cell]])
        visitors = position[guests[bounds[cell] : bounds[cell + 1]]]
        fresh_visitors = visitors[: int(is_new[laid.number[visitors]].sum())]
        yield from _within(laid, fresh)
        yield from _between(laid, fresh, np.concatenate([old, visitors]))
        yield from _between(laid, old, fresh_visitors)


def _within(laid: Laid, members: Numbers) -> Iterator[Tile]:
    for some in blocks(len(members), _TILE_ROWS):
        yield _tile(laid, members[some], members[some], True)
        yield from _between(laid, members[some], members[some.stop :])


def _between(laid: Laid, members: Numbers, others: Numbers) -> Iterator[Tile]:
    for some in blocks(len(members), _TILE_ROWS):
        for more in blocks(len(others), _TILE_ROWS):
            yield _tile(laid, members[some], others[more], False)


def _tile(laid: Laid, first: Numbers, second: Numbers, same: bool) -> Tile:
    one = laid.shadows[first[0] : first[-1] + 1]  # members of one cell lie together
    return Tile(laid.number[first], laid.number[second], one, one if same else laid.shadows[second], same)


def to_compare(laid: Laid, places: Places, is_new: Mask) -> int:
    """How many pairs the tiles hold."""
    cells = len(laid.new)
    members, guests = np.diff(laid.start), np.bincount(places.visited, minlength=cells)
    fresh_guests = np.bincount(places.visited[is_new[places.guest]], minlength=cells)
    old = members - laid.new
    return int((laid.new * (laid.new + old + guests) + old * fresh_guests).sum())


def near_pairs(
    work: Iterable[Tile], vectors: Vectors, rows: Numbers, threshold: float, each: Each, on_rows: OnRows
) -> Pairs:
    """The pairs in tiles of shadows whose cosine is at least `threshold`.

    Args:
        work: the tiles.
        vectors: the file of vectors.
        rows: the row in it of each vector, by number.
        threshold: least cosine.
        each: where tiles are compared.
        on_rows: called with the pairs compared since the last call.
    """
    in_full: list[Open] = []

    def told() -> Iterator[Near]:
        for found in each(partial(leave_open, threshold), work):
            if found.i is None or found.j is None:
                in_full.append(found)
            else:
                one, other = rows[found.first[found.i]], rows[found.second[found.j]]
                yield settle(found, cosines(vectors, one, vectors, other) >= threshold)
            on_rows(len(found.first) * len(found.second))
        yield from each(partial(compare, threshold), (_full(vectors, rows, found) for found in in_full))

    return Pairs.of(told())


def _full(vectors: Vectors, rows: Numbers, found: Open) -> Tile:
    one = vectors[rows[found.first]]
    other = one if found.same else vectors[rows[found.second]]
    return Tile(found.first, found.second, one, other, found.same)
