"""Compares two blocks of vectors, or of their projections, and returns the near pairs. Pure functions.

A dense cluster, such as ten thousand prints of one placeholder, has too many near pairs to store. Of those, only enough
are kept to connect it: the first ones of each vector, and one for each two components that would otherwise be separate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.curation.dedup.rows import Indices, Mask
from pipeline.curation.dedup.union_find import UnionFind
from pipeline.curation.vectors import Vectors

#: Largest float32 error of a product. Scores this close to the threshold are computed again in float64.
SLACK = 1e-5
_EXACT_AT_ONCE = 8192
#: A tile with more candidates than both this count and this share of its pairs is compared in full.
_FEW, _MANY = 4096, 0.005
#: Pairs that are kept of one vector in one tile.
CROWD = 16


@dataclass(frozen=True, slots=True)
class Tile:
    """Two blocks to compare.

    Attributes:
        first, second: (A,) and (B,) numbers of the vectors.
        one, other: (A, D) and (B, D) vectors, or (A, S) and (B, S) projections.
        same: the two blocks are the same one; each pair counts once then.
    """

    first: Indices
    second: Indices
    one: Vectors
    other: Vectors
    same: bool


@dataclass(frozen=True, slots=True)
class TilePairs:
    """The near pairs of a tile.

    Attributes:
        first, second: the two vectors of each pair.
        crowded: vectors of which some pairs were dropped.
    """

    first: Indices
    second: Indices
    crowded: Indices


@dataclass(frozen=True, slots=True)
class Candidates:
    """The pairs of a tile that its projections do not rule out.

    Attributes:
        first, second, same: as in the tile.
        i, j: positions of the pairs in `first` and `second`; None if there are so many that comparing the whole tile
            is faster.
    """

    first: Indices
    second: Indices
    same: bool
    i: Indices | None
    j: Indices | None


def find_candidates(threshold: float, tile: Tile) -> Candidates:
    """The pairs of a tile of projections that may be near."""
    i, j, _ = _hits(threshold, tile)
    if len(i) > max(_FEW, _MANY * len(tile.first) * len(tile.second)):
        return Candidates(tile.first, tile.second, tile.same, None, None)
    return Candidates(tile.first, tile.second, tile.same, i, j)


def select(candidates: Candidates, near: Mask) -> TilePairs:
    """The candidates that turned out to be `near`."""
    assert candidates.i is not None
    assert candidates.j is not None
    return thinned(candidates.first, candidates.second, candidates.i[near], candidates.j[near])


def compare(threshold: float, tile: Tile) -> TilePairs:
    """The pairs of a tile of vectors whose cosine is at least `threshold`. How blocks are cut makes no difference."""
    i, j, scores = _hits(threshold, tile)
    near = scores >= threshold + SLACK
    doubtful = np.flatnonzero(~near)
    near[doubtful] = cosines(tile.one, i[doubtful], tile.other, j[doubtful]) >= threshold
    return thinned(tile.first, tile.second, i[near], j[near])


def _hits(threshold: float, tile: Tile) -> tuple[Indices, Indices, Vectors]:
    """Positions and scores of the pairs at or just below the threshold, sorted by the first position."""
    scores = tile.one @ tile.other.T
    i, j = np.divmod(np.flatnonzero(scores >= threshold - SLACK), len(tile.other))
    if tile.same:
        once = i < j
        i, j = i[once], j[once]
    return i, j, scores[i, j]


def thinned(first: Indices, second: Indices, i: Indices, j: Indices) -> TilePairs:
    """The pairs `first[i]`, `second[j]`, sorted by i, without those that a dense cluster does not need."""
    kept = _spanning(i, j, len(first), len(second))
    crowded = np.concatenate([first[np.unique(i[~kept])], second[np.unique(j[~kept])]])
    return TilePairs(first[i[kept]], second[j[kept]], np.unique(crowded))


def cosines(one: Vectors, i: Indices, other: Vectors, j: Indices) -> npt.NDArray[np.float64]:
    """The cosine of `one[i]` and `other[j]` for each pair, in float64 and independent of the other pairs."""
    found = np.empty(len(i))
    for start in range(0, len(i), _EXACT_AT_ONCE):
        block = slice(start, start + _EXACT_AT_ONCE)
        first, second = one[i[block]].astype(np.float64), other[j[block]].astype(np.float64)
        found[block] = np.einsum("ij,ij->i", first, second)
    return found


def _spanning(i: Indices, j: Indices, rows: int, columns: int) -> Mask:
    """Which of the pairs, sorted by i, are kept: all but those that a dense cluster does not need to stay connected."""
    kept = _among_first(i)
    by_column = np.argsort(j, kind="stable")
    kept[by_column] |= _among_first(j[by_column])
    if kept.all():
        return kept
    components = UnionFind(rows + columns)
    components.join(i[kept], j[kept] + rows)
    one, other = components.roots[i], components.roots[j + rows]
    separate = np.flatnonzero(one != other)
    ends = np.minimum(one, other)[separate] * (rows + columns) + np.maximum(one, other)[separate]
    kept[separate[np.unique(ends, return_index=True)[1]]] = True
    return kept


def _among_first(numbers: Indices) -> Mask:
    """Which of the sorted numbers are among the first `CROWD` equal ones."""
    positions = np.arange(len(numbers))
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    return positions - np.repeat(starts, np.diff(starts, append=len(numbers))) < CROWD
