"""Cells: a space of vectors cut up by centroids, so that near vectors are sought in few of them and none is missed.

In: vectors of norm 1. Out: of each the cell that it lives in, that of its nearest centroid, and the cells that it
visits because it lives near their border. Two vectors that live in different cells lie on both sides of the plane
between the two centroids. If they are at most d apart, then one of them is at most d / 2 from that plane; so if every
vector visits all cells whose plane is within d / 2, each near pair meets in a cell, whatever the centroids are.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
import numpy.typing as npt

from pipeline.curation.vectors import Vectors
from pipeline.errors import UsageError

#: Numbers of vectors and of cells; there are many visits to remember.
Small = npt.NDArray[np.int32]

#: Fewer vectors are one cell: comparing all of them takes a second.
_ONE_CELL = 8192
#: More than sqrt(3 N) cells cost more to find and to visit than they save comparisons.
_CELLS_FACTOR = 3.0
_SAMPLE_PER_CELL = 40
_ITERATIONS = 6
_SEED = 1
#: Rounding of scores in float32 must not hide a border.
_SLACK = 1e-5
_SCORES_AT_ONCE = 2**19


def cells_for(count: int) -> int:
    """How many cells `count` vectors should have."""
    return 1 if count <= _ONE_CELL else ceil(sqrt(_CELLS_FACTOR * count))


@dataclass(frozen=True, slots=True)
class Places:
    """Where some vectors belong.

    Attributes:
        home: (B,) int32, the cell that each lives in.
        guest, visited: (G,) a visit each: which of the vectors, sorted, and the cell.
    """

    home: Small
    guest: Small
    visited: Small


@dataclass(frozen=True, slots=True)
class Cells:
    """A space cut up.

    Attributes:
        centroids: (K, D) float32.
        halves: (K,) a vector is nearest to the centroid with the largest `vector @ centroid - half`.
        gaps: (K, K) distances between centroids.
    """

    centroids: Vectors
    halves: Vectors
    gaps: Vectors

    @classmethod
    def around(cls, centroids: Vectors) -> Cells:
        """The cells of these centroids."""
        exact = centroids.astype(np.float64)
        halves = (exact**2).sum(axis=1) / 2
        squares = 2 * (halves[:, None] + halves - exact @ exact.T)
        return cls(centroids, halves.astype(np.float32), np.sqrt(np.maximum(squares, 0)).astype(np.float32))

    def place(self, vectors: Vectors, reach: float) -> Places:
        """Where `vectors` belong; they visit the cells whose border is at most `reach` away."""
        step = max(1, _SCORES_AT_ONCE // len(self.centroids))
        parts = [self._place(vectors[at : at + step], reach) for at in range(0, len(vectors), step)]
        return joined([(at * step, part) for at, part in enumerate(parts)])

    def _place(self, vectors: Vectors, reach: float) -> Places:
        scores = vectors @ self.centroids.T
        scores -= self.halves
        home = scores.argmax(axis=1)
        every = np.arange(len(home))
        scores -= scores[every, home][:, None]  # now minus the distance to a border, times the gap of its centroids
        scores += reach * self.gaps[home] + _SLACK
        scores[every, home] = -1
        guest, visited = np.divmod(np.flatnonzero(scores >= 0), len(self.centroids))
        return Places(home.astype(np.int32), guest.astype(np.int32), visited.astype(np.int32))


def joined(parts: list[tuple[int, Places]]) -> Places:
    """Parts one after another, each with the number of its first vector."""
    none = np.empty(0, np.int32)
    return Places(
        np.concatenate([none, *(part.home for _, part in parts)]),
        np.concatenate([none, *(part.guest + np.int32(first) for first, part in parts)]),
        np.concatenate([none, *(part.visited for _, part in parts)]),
    )


def train(vectors: Vectors) -> Cells:
    """Cells for these vectors, by k-means over an even sample of them; the same for the same vectors."""
    count = cells_for(len(vectors))
    if count == 1:
        return Cells.around(np.zeros((1, vectors.shape[1]), np.float32))
    try:
        import faiss
    except ImportError as error:
        raise UsageError("Near duplicates need the package faiss-cpu: pip install 'hanclip[curate]'.") from error
    sample = np.linspace(0, len(vectors) - 1, min(len(vectors), count * _SAMPLE_PER_CELL)).astype(np.int64)
    kmeans = faiss.Kmeans(
        vectors.shape[1],
        count,
        niter=_ITERATIONS,
        seed=_SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=_SAMPLE_PER_CELL + 1,
    )
    kmeans.train(np.ascontiguousarray(vectors[sample]))
    return Cells.around(np.array(kmeans.centroids, np.float32).reshape(count, -1))
