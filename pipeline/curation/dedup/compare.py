"""The comparison itself: two blocks of vectors, and which of them are near. A pure function that may run anywhere.

A crowd, such as ten thousand prints of one placeholder, has more near pairs than anybody can store. Of its pairs those
stay that hold it together: each vector's first ones, and whatever joins parts that would fall apart without.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.curation.dedup.groups import Groups
from pipeline.curation.dedup.rows import Numbers
from pipeline.curation.vectors import Vectors

#: Largest error of a product in float32; what is nearer to the threshold is computed again in float64.
_SLACK = 1e-5
_EXACT_AT_ONCE = 8192
#: Pairs of one vector in one tile beyond which it is in a crowd.
CROWD = 16


@dataclass(frozen=True, slots=True)
class Tile:
    """Two blocks to compare.

    Attributes:
        first, second: (A,) and (B,) numbers of the vectors.
        one, other: (A, D) and (B, D) the vectors.
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
        compared: how many pairs were looked at.
    """

    first: Numbers
    second: Numbers
    crowded: Numbers
    compared: int


def compare(threshold: float, tile: Tile) -> Near:
    """The pairs of `tile` whose cosine is at least `threshold`; it does not depend on how blocks were cut."""
    scores = tile.one @ tile.other.T
    hits = scores >= threshold - _SLACK
    if tile.same:
        hits = np.triu(hits, 1)
    i, j = np.divmod(np.flatnonzero(hits), hits.shape[1])
    sure = scores[i, j] >= threshold + _SLACK
    doubtful = np.flatnonzero(~sure)
    sure[doubtful] = cosines(tile.one, i[doubtful], tile.other, j[doubtful]) >= threshold
    i, j = i[sure], j[sure]
    stay = _holding(i, j, *hits.shape)
    left_i, left_j = i[~stay], j[~stay]
    crowded = np.concatenate([tile.first[np.unique(left_i)], tile.second[np.unique(left_j)]])
    return Near(tile.first[i[stay]], tile.second[j[stay]], np.unique(crowded), hits.size)


def cosines(one: Vectors, i: Numbers, other: Vectors, j: Numbers) -> npt.NDArray[np.float64]:
    """Cosine of `one[i]` and `other[j]`, for each pair, by itself."""
    found = np.empty(len(i))
    for start in range(0, len(i), _EXACT_AT_ONCE):
        some = slice(start, start + _EXACT_AT_ONCE)
        first, second = one[i[some]].astype(np.float64), other[j[some]].astype(np.float64)
        found[some] = np.einsum("ij,ij->i", first, second)
    return found


def _holding(i: Numbers, j: Numbers, rows: int, columns: int) -> npt.NDArray[np.bool_]:
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


def _among_first(numbers: Numbers) -> npt.NDArray[np.bool_]:
    """Of sorted numbers, which are among the first `CROWD` of their kind."""
    every = np.arange(len(numbers))
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    return every - np.repeat(starts, np.diff(starts, append=len(numbers))) < CROWD
