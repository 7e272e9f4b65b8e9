"""The comparison itself: two blocks of vectors, or of their shadows, and which are near. Pure functions.

A crowd, such as ten thousand prints of one placeholder, has more near pairs than anybody can store. Of its pairs those
stay that hold it together: each vector's first ones, and whatever joins parts that would fall apart without.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.curation.dedup.groups import Groups
from pipeline.curation.dedup.rows import Mask, Numbers
from pipeline.curation.vectors import Vectors

#: Largest error of a product in float32; what is nearer to the threshold is computed again in float64.
_SLACK = 1e-5
_EXACT_AT_ONCE = 8192
#: A tile with more open pairs than these, and than this share of all its pairs, is compared in full.
_FEW, _MANY = 4096, 0.005
#: Pairs of one vector in one tile beyond which it is in a crowd.
CROWD = 16


@dataclass(frozen=True, slots=True)
class Tile:
    """Two blocks to compare.

    Attributes:
        first, second: (A,) and (B,) numbers of the vectors.
        one, other: (A, D) and (B, D) the vectors, or (A, S) and (B, S) their shadows.
        same: the two blocks are one; each pair counts once then.
    """

    first: Numbers
    second: Numbers
    one: Vectors
    other: Vectors
    same: bool


@dataclass(frozen=True, slots=True)
class Near:
    """Near pairs of a tile.

    Attributes:
        first, second: of each pair the numbers of its vectors.
        crowded: numbers of the vectors of which some pairs were left out.
    """

    first: Numbers
    second: Numbers
    crowded: Numbers


@dataclass(frozen=True, slots=True)
class Open:
    """The pairs of a tile that its shadows leave open.

    Attributes:
        first, second, same: as in the tile.
        i, j: places of the pairs in `first` and `second`; None when there are so many that all pairs of the tile are
            better compared in full.
    """

    first: Numbers
    second: Numbers
    same: bool
    i: Numbers | None
    j: Numbers | None


def leave_open(threshold: float, tile: Tile) -> Open:
    """The pairs of a tile of shadows that may be near."""
    i, j, _ = _hits(threshold, tile)
    if len(i) > max(_FEW, _MANY * len(tile.first) * len(tile.second)):
        return Open(tile.first, tile.second, tile.same, None, None)
    return Open(tile.first, tile.second, tile.same, i, j)


def settle(found: Open, near: Mask) -> Near:
    """Those of the open pairs that are `near`."""
    assert found.i is not None
    assert found.j is not None
    return _held(found.first, found.second, found.i[near], found.j[near])


def compare(threshold: float, tile: Tile) -> Near:
    """The pairs of a tile of vectors whose cosine is at least `threshold`, however blocks are cut."""
    i, j, scores = _hits(threshold, tile)
    sure = scores >= threshold + _SLACK
    doubtful = np.flatnonzero(~sure)
    sure[doubtful] = cosines(tile.one, i[doubtful], tile.other, j[doubtful]) >= threshold
    return _held(tile.first, tile.second, i[sure], j[sure])


def _hits(threshold: float, tile: Tile) -> tuple[Numbers, Numbers, Vectors]:
    """Places and scores of the pairs that are near, or so nearly that rounding may decide; sorted by the first."""
    scores = tile.one @ tile.other.T
    i, j = np.divmod(np.flatnonzero(scores >= threshold - _SLACK), len(tile.other))
    if tile.same:
        once = i < j
        i, j = i[once], j[once]
    return i, j, scores[i, j]


def _held(first: Numbers, second: Numbers, i: Numbers, j: Numbers) -> Near:
    stay = _holding(i, j, len(first), len(second))
    left_i, left_j = i[~stay], j[~stay]
    crowded = np.concatenate([first[np.unique(left_i)], second[np.unique(left_j)]])
    return Near(first[i[stay]], second[j[stay]], np.unique(crowded))


def cosines(one: Vectors, i: Numbers, other: Vectors, j: Numbers) -> npt.NDArray[np.float64]:
    """Cosine of `one[i]` and `other[j]`, for each pair, by itself."""
    found = np.empty(len(i))
    for start in range(0, len(i), _EXACT_AT_ONCE):
        some = slice(start, start + _EXACT_AT_ONCE)
        first, second = one[i[some]].astype(np.float64), other[j[some]].astype(np.float64)
        found[some] = np.einsum("ij,ij->i", first, second)
    return found


def _holding(i: Numbers, j: Numbers, rows: int, columns: int) -> Mask:
    """Which of the pairs, sorted by i, stay: all but those of crowds that nothing depends on."""
    stay = _among_first(i)
    by_column = np.argsort(j, kind="stable")
    stay[by_column] |= _among_first(j[by_column])
    if stay.all():
        return stay
    parts = Groups(rows + columns)
    parts.join(i[stay], j[stay] + rows)
    one, other = parts.smallest[i], parts.smallest[j + rows]
    apart = np.flatnonzero(one != other)
    ends = np.minimum(one, other)[apart] * (rows + columns) + np.maximum(one, other)[apart]
    stay[apart[np.unique(ends, return_index=True)[1]]] = True
    return stay


def _among_first(numbers: Numbers) -> Mask:
    """Of sorted numbers, which are among the first `CROWD` of their kind."""
    every = np.arange(len(numbers))
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    return every - np.repeat(starts, np.diff(starts, append=len(numbers))) < CROWD
