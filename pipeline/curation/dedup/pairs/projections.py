"""Short projections of vectors that prune pairs which cannot be near.

In: vectors a of norm 1. Out: their projections Pa onto the few directions of largest variance, with the length r of the
residual as one more element. Projections also have norm 1, and `Pa @ Pb + ra * rb >= a @ b`: if the projections of a
pair are not near, neither is the pair. For CLIP's vectors, 63 of 512 directions exclude nearly all pairs; only the
remaining candidates are compared in full.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.curation.dedup.rows import Indices, mapped
from pipeline.curation.vectors import Vectors

#: Lengths to try, shortest first. Shorter projections compare faster, but more of them are near a border of cells.
LENGTHS = (64, 128, 256)
_SAMPLE = 4096
#: Largest share of pairs that may be candidates without being near. Each costs about a hundred comparisons.
_MAX_FALSE_CANDIDATES = 1e-4
_BLOCK_ROWS = 32768


@dataclass(frozen=True, slots=True)
class Projection:
    """A linear projection that also keeps the length of the residual.

    Attributes:
        directions: (D, S - 1) float64, orthonormal; (D, 0) stands for the identity.
    """

    directions: npt.NDArray[np.float64]

    def apply(self, vectors: Vectors) -> Vectors:
        """Project (B, D) vectors to (B, S). Computed in float64, since the residual may be tiny."""
        if not self.directions.shape[1]:
            return vectors
        exact = vectors.astype(np.float64)
        projected = exact @ self.directions
        residual = np.einsum("ij,ij->i", exact, exact) - np.einsum("ij,ij->i", projected, projected)
        return np.column_stack([projected, np.sqrt(np.maximum(residual, 0))]).astype(np.float32)


def fit_projection(vectors: Vectors, rows: Indices, threshold: float) -> Projection:
    """The shortest projection that prunes well on an even sample of the vectors at `rows`."""
    dim = vectors.shape[1]
    sample = vectors[rows[np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE)).astype(np.int64)]]
    centred = sample.astype(np.float64) - sample.mean(axis=0, dtype=np.float64)
    directions = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    near = _count_near(sample, threshold)
    for length in LENGTHS:
        projection = Projection(np.ascontiguousarray(directions[:, : length - 1]))
        false_candidates = _count_near(projection.apply(sample), threshold) - near
        if 2 * length <= dim and false_candidates <= _MAX_FALSE_CANDIDATES * len(sample) ** 2:
            return projection
    return Projection(np.empty((dim, 0)))


def _count_near(vectors: Vectors, threshold: float) -> int:
    return int((vectors @ vectors.T >= threshold).sum())


def project_all(path: str, projection: Projection, vectors: Vectors, rows: Indices) -> Vectors:
    """Project the vectors at `rows` into a file at `path`."""
    length = projection.directions.shape[1] + 1 if projection.directions.shape[1] else vectors.shape[1]
    with Path(path).open("wb") as file:
        for block in block_slices(len(rows), _BLOCK_ROWS):
            file.write(projection.apply(vectors[rows[block]]).tobytes())
    return mapped(path, len(rows), length)


def block_slices(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `count` items."""
    for start in range(0, count, size):
        yield slice(start, min(count, start + size))
