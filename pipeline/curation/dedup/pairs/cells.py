"""Partitions vectors into cells by k-means, as an IVF index does, so that near vectors are sought in few cells.

In: vectors of norm 1. Out: for each its home cell, that of the nearest centroid, and the neighbouring cells in which it
is a visitor because it lies near their border.

Why no near pair is missed: two vectors with different home cells lie on both sides of the plane halfway between the
centroids. If they are at most d apart, one of them is at most d / 2 from that plane. So if every vector visits all
cells whose plane is within d / 2, each near pair meets in some cell, whatever the centroids are.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
import numpy.typing as npt

from pipeline.curation.vectors import Vectors

#: Numbers of vectors and of cells: 32 bits, since there are many visits to hold.
Int32s = npt.NDArray[np.int32]

#: Up to this many vectors form one cell: comparing all of them takes a second.
_ONE_CELL = 8192
#: More than sqrt(3 N) cells cost more to find and to visit than they save in comparisons.
_CELLS_FACTOR = 3.0
_SAMPLE_PER_CELL = 40
_ITERATIONS = 6
_SEED = 1
#: Widens borders a little, so that float32 rounding of the scores hides none.
_SLACK = 1e-5
_SCORES_AT_ONCE = 2**19


def cells_for(count: int) -> int:
    """The number of cells for `count` vectors."""
    return 1 if count <= _ONE_CELL else ceil(sqrt(_CELLS_FACTOR * count))


@dataclass(frozen=True, slots=True)
class CellAssignment:
    """The cells of B vectors.

    Attributes:
        home: (B,) int32, the home cell of each.
        visitor, visited: (G,) int32, the visits: a vector, ascending, and the cell it visits.
    """

    home: Int32s
    visitor: Int32s
    visited: Int32s


@dataclass(frozen=True, slots=True)
class Cells:
    """K cells.

    Attributes:
        centroids: (K, D) float32.
        halves: (K,) half the squared norms: the nearest centroid has the largest `vector @ centroid - half`.
        distances: (K, K) between centroids.
    """

    centroids: Vectors
    halves: Vectors
    distances: Vectors

    @classmethod
    def around(cls, centroids: Vectors) -> Cells:
        """The cells of these centroids."""
        exact = centroids.astype(np.float64)
        halves = (exact**2).sum(axis=1) / 2
        squares = 2 * (halves[:, None] + halves - exact @ exact.T)
        return cls(centroids, halves.astype(np.float32), np.sqrt(np.maximum(squares, 0)).astype(np.float32))

    def assign(self, vectors: Vectors, margin: float) -> CellAssignment:
        """Assign `vectors` to home cells, and as visitors to the cells whose border is at most `margin` away."""
        step = max(1, _SCORES_AT_ONCE // len(self.centroids))
        parts = [self._assign(vectors[start : start + step], margin) for start in range(0, len(vectors), step)]
        return concatenated([(number * step, part) for number, part in enumerate(parts)])

    def _assign(self, vectors: Vectors, margin: float) -> CellAssignment:
        scores = vectors @ self.centroids.T
        scores -= self.halves
        home = scores.argmax(axis=1)
        rows = np.arange(len(home))
        scores -= scores[rows, home][:, None]  # now minus the distance to the border, times that of the centroids
        scores += margin * self.distances[home] + _SLACK
        scores[rows, home] = -1
        visitor, visited = np.divmod(np.flatnonzero(scores >= 0), len(self.centroids))
        return CellAssignment(home.astype(np.int32), visitor.astype(np.int32), visited.astype(np.int32))


def concatenated(parts: list[tuple[int, CellAssignment]]) -> CellAssignment:
    """Join consecutive parts, each given with the number of its first vector."""
    none = np.empty(0, np.int32)
    return CellAssignment(
        np.concatenate([none, *(part.home for _, part in parts)]),
        np.concatenate([none, *(part.visitor + np.int32(first) for first, part in parts)]),
        np.concatenate([none, *(part.visited for _, part in parts)]),
    )


def train_cells(vectors: Vectors) -> Cells:
    """Run k-means over an even sample of the vectors. The same vectors give the same cells."""
    count = cells_for(len(vectors))
    if count == 1:
        return Cells.around(np.zeros((1, vectors.shape[1]), np.float32))
    import faiss  # an optional package

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
