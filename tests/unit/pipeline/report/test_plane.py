"""Test the maps of vectors: principal components against NumPy's own, neighbours by how many stay together."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.report.plane.directions import main_directions
from pipeline.report.plane.neighbours import kept_neighbours, nearest, neighbour_plane

RANDOM = np.random.default_rng(7)


def test_directions_are_the_principal_components() -> None:
    vectors = (RANDOM.normal(size=(300, 12)) * np.arange(1, 13)).astype(np.float32)
    found = main_directions(vectors, 3)
    _, values, axes = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    assert found.shares == pytest.approx(values[:3] ** 2 / (values**2).sum(), rel=1e-4)
    expected = (vectors - vectors.mean(0)) @ axes[:3].T
    assert np.abs(found.coordinates) == pytest.approx(np.abs(expected), abs=1e-3)
    assert (main_directions(vectors[::-1].copy(), 3).coordinates[::-1] * found.coordinates).sum(0).min() > 0


def test_neighbours_stay_together_where_two_directions_do_not_suffice() -> None:
    angle = np.sort(RANDOM.random(600)) * 2 * np.pi
    waves = np.arange(1, 9)[:, None] * angle
    vectors = np.concatenate([np.sin(waves), np.cos(waves)]).T.astype(np.float32)  # a closed curve in 16 dimensions
    near, directions = nearest(vectors, 10), main_directions(vectors, 16)
    points = neighbour_plane(near, directions)
    assert kept_neighbours(near, points) > 0.75
    assert kept_neighbours(near, points) > 1.3 * kept_neighbours(near, directions.coordinates[:, :2])
    assert np.array_equal(points, neighbour_plane(near, directions))


def test_nearest_are_others_even_among_copies() -> None:
    vectors = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    near = nearest(vectors, 3)
    assert (near // 4 == np.arange(12)[:, None] // 4).all()
    assert not (near == np.arange(12)[:, None]).any()


@pytest.mark.parametrize("rows", [3, 40])
def test_equal_vectors_have_places(rows: int) -> None:
    vectors = np.ones((rows, 5), np.float32)
    directions, near = main_directions(vectors, 9), nearest(vectors, 2)
    assert directions.coordinates.shape == (rows, 5)
    assert directions.shares == pytest.approx(0)
    assert np.isfinite(neighbour_plane(near, directions)).all()
