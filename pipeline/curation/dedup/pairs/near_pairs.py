"""Finds the near pairs among many vectors, comparing new vectors with all others, cell by cell.

In: vectors and their projections on disk, their cells, and which of them are new. Out: the near pairs with at least one
new vector. Projections are stored in the order of their cells, and only the blocks under comparison are in memory;
vectors are read only for candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.curation.dedup.pairs.cells import CellAssignment, Cells, Int32s, concatenated
from pipeline.curation.dedup.pairs.compare import (
    Candidates,
    Tile,
    TilePairs,
    compare,
    cosines,
    find_candidates,
    select,
)
from pipeline.curation.dedup.pairs.projections import block_slices
from pipeline.curation.dedup.parallel import ParallelMap
from pipeline.curation.dedup.rows import Indices, Mask, mapped
from pipeline.curation.vectors import Vectors
from pipeline.phases import OnRows

_TILE_ROWS = 4096
_BLOCK_ROWS = 32768
_MERGE_PAIRS = 2**22


@dataclass(frozen=True, slots=True)
class NearPairs:
    """Near pairs of vectors.

    Attributes:
        first, second: the vectors of each pair by number, first < second, sorted by second.
        crowded: vectors that have more near pairs than are listed.
    """

    first: Indices
    second: Indices
    crowded: Indices

    @classmethod
    def of(cls, parts: Iterable[TilePairs]) -> NearPairs:
        """Merge the pairs of tiles; a pair of several tiles is listed once."""
        none = np.empty(0, np.int64)
        keys, crowded, pending, count = none, none, [none], 0
        for part in parts:
            low, high = np.minimum(part.first, part.second), np.maximum(part.first, part.second)
            pending.append(high << 32 | low)
            count += len(low)
            crowded = np.union1d(crowded, part.crowded) if len(part.crowded) else crowded
            if count > _MERGE_PAIRS + len(keys):
                keys, pending, count = np.unique(np.concatenate([keys, *pending])), [], 0
        keys = np.unique(np.concatenate([keys, *pending]))
        return cls(keys & 0xFFFFFFFF, keys >> 32, crowded)

    def as_tile(self) -> TilePairs:
        """The same pairs, to be merged with others."""
        return TilePairs(self.first, self.second, self.crowded)


def assign_all(
    cells: Cells, projections: Vectors, numbers: Indices, margin: float, pmap: ParallelMap, on_rows: OnRows
) -> CellAssignment:
    """Assign the vectors with these numbers to cells, by their projections; `on_rows` counts those assigned."""
    slices = list(block_slices(len(numbers), _BLOCK_ROWS))
    results = pmap(partial(_assign, cells, margin), (projections[numbers[block]] for block in slices))
    parts = []
    for block, part in zip(slices, results, strict=True):
        parts.append((block.start, part))
        on_rows(block.stop - block.start)
    return concatenated(parts)


def _assign(cells: Cells, margin: float, projections: Vectors) -> CellAssignment:
    return cells.assign(projections, margin)


@dataclass(frozen=True, slots=True)
class InvertedLists:
    """Projections on disk, sorted by home cell, the new ones of a cell first.

    Attributes:
        projections: (C, S) in that order.
        number: (C,) the number of each vector.
        start: (K + 1,) where each cell begins.
        new: (K,) how many vectors of a cell are new.
    """

    projections: Vectors
    number: Indices
    start: Indices
    new: Indices


def write_lists(path: str, projections: Vectors, home: Int32s, cells: int, is_new: Mask) -> InvertedLists:
    """Write the projections to a file in the order of their home cells."""
    number = np.lexsort((~is_new, home))
    with Path(path).open("wb") as file:
        for block in block_slices(len(number), _BLOCK_ROWS):
            file.write(projections[number[block]].tobytes())
    start = np.concatenate([[0], np.cumsum(np.bincount(home, minlength=cells))]).astype(np.int64)
    return InvertedLists(mapped(path, *projections.shape), number, start, np.bincount(home[is_new], minlength=cells))


def tiles(lists: InvertedLists, assignment: CellAssignment, is_new: Mask) -> Iterator[Tile]:
    """All tiles to compare. A pair that meets in several cells is in several tiles."""
    position = np.empty(len(lists.number), np.int64)
    position[lists.number] = np.arange(len(lists.number))
    by_cell = np.lexsort((~is_new[assignment.visitor], assignment.visited))
    visitor, visited = assignment.visitor[by_cell], assignment.visited[by_cell]
    bounds = np.searchsorted(visited, np.arange(len(lists.start)))
    for cell in range(len(lists.start) - 1):
        residents = np.arange(lists.start[cell], lists.start[cell + 1])
        new, old = np.split(residents, [lists.new[cell]])
        visitors = position[visitor[bounds[cell] : bounds[cell + 1]]]
        new_visitors = visitors[: int(is_new[lists.number[visitors]].sum())]
        yield from _within(lists, new)
        yield from _between(lists, new, np.concatenate([old, visitors]))
        yield from _between(lists, old, new_visitors)


def _within(lists: InvertedLists, residents: Indices) -> Iterator[Tile]:
    for block in block_slices(len(residents), _TILE_ROWS):
        yield _tile(lists, residents[block], residents[block], True)
        yield from _between(lists, residents[block], residents[block.stop :])


def _between(lists: InvertedLists, residents: Indices, others: Indices) -> Iterator[Tile]:
    for one in block_slices(len(residents), _TILE_ROWS):
        for other in block_slices(len(others), _TILE_ROWS):
            yield _tile(lists, residents[one], others[other], False)


def _tile(lists: InvertedLists, first: Indices, second: Indices, same: bool) -> Tile:
    one = lists.projections[first[0] : first[-1] + 1]  # residents of one cell are contiguous
    other = one if same else lists.projections[second]
    return Tile(lists.number[first], lists.number[second], one, other, same)


def count_comparisons(lists: InvertedLists, assignment: CellAssignment, is_new: Mask) -> int:
    """How many pairs are in the tiles."""
    cells = len(lists.new)
    residents, visitors = np.diff(lists.start), np.bincount(assignment.visited, minlength=cells)
    new_visitors = np.bincount(assignment.visited[is_new[assignment.visitor]], minlength=cells)
    old = residents - lists.new
    return int((lists.new * (lists.new + old + visitors) + old * new_visitors).sum())


def find_near_pairs(
    work: Iterable[Tile], vectors: Vectors, rows: Indices, threshold: float, pmap: ParallelMap, on_rows: OnRows
) -> NearPairs:
    """The pairs in tiles of projections whose cosine is at least `threshold`.

    Args:
        work: the tiles.
        vectors: the file of vectors.
        rows: the row of each vector in that file.
        threshold: least cosine.
        pmap: where tiles are compared.
        on_rows: called with the pairs compared since the last call.
    """
    in_full: list[Candidates] = []

    def near() -> Iterator[TilePairs]:
        for found in pmap(partial(find_candidates, threshold), work):
            if found.i is None or found.j is None:
                in_full.append(found)
            else:
                one, other = rows[found.first[found.i]], rows[found.second[found.j]]
                yield select(found, cosines(vectors, one, vectors, other) >= threshold)
            on_rows(len(found.first) * len(found.second))
        yield from pmap(partial(compare, threshold), (_full_tile(vectors, rows, found) for found in in_full))

    return NearPairs.of(near())


def _full_tile(vectors: Vectors, rows: Indices, found: Candidates) -> Tile:
    one = vectors[rows[found.first]]
    other = one if found.same else vectors[rows[found.second]]
    return Tile(found.first, found.second, one, other, found.same)
