"""A plane on which neighbours stay together: a small neighbour embedding, after PaCMAP (Wang et al., JMLR 22, 2021).

In: vectors of norm 1. Out: a point for each. Each row is pulled towards its nearest rows, at first also towards some
that are moderately near, which arranges the whole, and pushed from random ones. Steps are those of Adam over all pairs
at once; a point is one complex number. The random numbers have a fixed seed: the same vectors give the same plane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

from pipeline.curation.vectors import Vectors
from pipeline.report.plane.directions import Directions

Places = npt.NDArray[np.int64]
Plane = npt.NDArray[np.complex128]
NEAR, _MIDDLE, _FAR, _CANDIDATES = 10, 5, 12, 6
#: Steps of the three phases: arrange the whole, tighten, and let neighbourhoods settle.
_PHASES = (60, 40, 80)
_SEED, _STEP, _SPREAD = 20, 1.0, 0.01


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs of each row with K others (N, K).

    The loss of a pair at squared distance d is (d + 1) / (d + 1 + `scale`), or 1 / (d + 2) if it is to be apart.
    """

    others: Places
    scale: float
    apart: bool = False


def nearest(points: Vectors, number: int) -> Places:
    """The `number` nearest other points of each, by Euclidean distance (N, number)."""
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points)
    _, found = index.search(points, number + 1)
    # A copy of a row may come before the row itself.
    is_self = found == np.arange(len(points))[:, None]
    is_self[~is_self.any(1), -1] = True
    return np.asarray(found[~is_self].reshape(len(points), number), np.int64)


def neighbour_plane(near: Places, directions: Directions) -> Vectors:
    """Points (N, 2) for N rows, from their nearest rows (N, K) and their main directions."""
    random = np.random.default_rng(_SEED)
    points: Plane = directions.coordinates[:, 0] + 1j * directions.coordinates[:, 1]
    points = (points / (np.abs(points).mean() or 1.0) * _SPREAD).astype(np.complex128)
    pairs = (
        _Pairs(near, 10.0),
        _Pairs(_middle(directions.coordinates, random), 10_000.0),
        _Pairs(random.integers(0, len(near), (len(near), _FAR)), 1.0, apart=True),
    )
    first, second = np.zeros_like(points), np.zeros_like(points)
    for step, weights in enumerate(_weights(), 1):
        slope = np.zeros_like(points)
        for some, weight in zip(pairs, weights, strict=True):
            slope += weight * _slope(points, some) if weight else 0.0
        first += 0.1 * (slope - first)
        second += 0.001 * (slope.real**2 + 1j * slope.imag**2 - second)
        scale = second / (1 - 0.999**step)
        mean = first / (1 - 0.9**step)
        points -= _STEP * (mean.real / (np.sqrt(scale.real) + 1e-7) + 1j * mean.imag / (np.sqrt(scale.imag) + 1e-7))
    return np.stack([points.real, points.imag], 1).astype(np.float32)


def kept_neighbours(near: Places, points: Vectors) -> float:
    """The share of the nearest rows (N, K) that are also among the K nearest on the plane."""
    shown = nearest(np.ascontiguousarray(points, np.float32), near.shape[1])
    return float((near[:, :, None] == shown[:, None, :]).any(2).mean())


def _middle(coordinates: Vectors, random: np.random.Generator) -> Places:
    """Of some random rows the second nearest: moderately near, as most rows are far."""
    rows = len(coordinates)
    some = random.integers(0, rows, (rows, _MIDDLE, _CANDIDATES))
    order = np.empty((rows, _MIDDLE), np.int64)
    for place in range(_MIDDLE):
        away = coordinates[some[:, place]] - coordinates[:, None]
        order[:, place] = np.argpartition((away**2).sum(2), 1, axis=1)[:, 1]
    return np.take_along_axis(some, order[..., None], 2)[..., 0]


def _weights() -> Iterator[tuple[float, float, float]]:
    """The weight of each kind of pairs in each step."""
    arrange, tighten, settle = _PHASES
    for step in range(arrange):
        yield 2.0, 1000.0 * (1 - step / arrange) + 3.0 * step / arrange, 1.0
    yield from [(3.0, 3.0, 1.0)] * tighten
    yield from [(1.0, 0.0, 1.0)] * settle


def _slope(points: Plane, pairs: _Pairs) -> Plane:
    """The gradient of the loss of all pairs (N)."""
    away = points[:, None] - points[pairs.others]
    near = 1.0 + away.real**2 + away.imag**2
    slope = away * (-2.0 / (1.0 + near) ** 2 if pairs.apart else 2.0 * pairs.scale / (pairs.scale + near) ** 2)
    others, rows = pairs.others.ravel(), len(points)
    parts = (np.bincount(others, part.ravel(), minlength=rows) for part in (slope.real, slope.imag))
    across, up = parts
    return np.asarray(slope.sum(1) - across - 1j * up)
