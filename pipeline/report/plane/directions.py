"""The main directions of vectors: principal component analysis.

In: vectors. Out: their coordinates along the directions in which they vary most, and the share of the variance of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.curation.vectors import Vectors


@dataclass(frozen=True, slots=True)
class Directions:
    """Coordinates (N, K) float32, and for each of the K directions its share of the variance, largest first."""

    coordinates: Vectors
    shares: npt.NDArray[np.float64]


def main_directions(vectors: Vectors, number: int) -> Directions:
    """The first `number` principal components of N vectors (N, D), or D if that is less.

    The sign of a direction is arbitrary; here its largest component is positive, so equal vectors give equal maps.
    """
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    values, axes = np.linalg.eigh(centred.T @ centred)
    values, axes = np.maximum(values[::-1], 0.0), axes[:, ::-1][:, :number]
    largest = axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])]
    axes = axes * np.where(largest < 0, -1.0, 1.0)
    shares = values[:number] / (values.sum() or 1.0)
    return Directions((centred @ axes).astype(np.float32), shares)
