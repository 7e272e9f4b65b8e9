"""Compares any two rows on one rung of the ladder.

In: values of all rows. Out: functions of arrays of rows, for each rung.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.curation.dedup.pairs.compare import SLACK, cosines
from pipeline.curation.dedup.pairs.hashes import turned_bits
from pipeline.curation.dedup.rows import PLAIN_TEXT, Indices, Mask
from pipeline.curation.vectors import Vectors
from pipeline.vocabulary import Rung

#: The column whose equal values make rows duplicates on a rung.
EQUAL = {Rung.BYTES: "image_sha256", Rung.PIXELS: "image_pixels_xxh128", Rung.TEXT: PLAIN_TEXT}

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Likeness:
    """Compares rows on one rung.

    Attributes:
        test: of arrays of rows, whether `one[i]` and `other[i]` are duplicates.
        score: of the same, a number that is larger the nearer they are.
        maybe: of A and B rows an (A, B) mask, false only where `test` is; None if nothing is known without `test`.
    """

    test: Callable[[Indices, Indices], Mask]
    score: Callable[[Indices, Indices], Scores]
    maybe: Callable[[Indices, Indices], Mask] | None = None


def by_value(firsts: Indices) -> Likeness:
    """Equal values; `firsts` has for every row the first row with its value."""
    return Likeness(lambda one, other: same(firsts, one, other), lambda one, _: np.zeros(len(one)))


def by_phash(hashes: npt.NDArray[Any], radius: int) -> Likeness:
    """(N,) perceptual hashes that differ in at most `radius` bits."""
    return Likeness(
        lambda one, other: np.bitwise_count(hashes[one] ^ hashes[other]) <= radius,
        lambda one, other: -np.bitwise_count(hashes[one] ^ hashes[other]).astype(np.float64),
        lambda one, other: np.bitwise_count(hashes[one][:, None] ^ hashes[other]) <= radius,
    )


def by_turned_phash(hashes: npt.NDArray[Any], radius: int) -> Likeness:
    """The same after one picture is mirrored or rotated by quarters; or equal hashes."""
    return Likeness(
        lambda one, other: (
            turned_bits(hashes[one], hashes[other]) <= np.where(hashes[one] == hashes[other], 64, radius)
        ),
        lambda one, other: -turned_bits(hashes[one], hashes[other]).astype(np.float64),
    )


def by_vector(vectors: Vectors, firsts: Indices, threshold: float) -> Likeness:
    """(N, D) vectors of at least this cosine; `firsts` has for every row the first row with its vector, or -1."""

    def score(one: Indices, other: Indices) -> Scores:
        return cosines(vectors, firsts[one], vectors, firsts[other])

    def test(one: Indices, other: Indices) -> Mask:
        known = (firsts[one] >= 0) & (firsts[other] >= 0)
        near: Mask = score(one, other) >= threshold
        return known & (near | same(firsts, one, other))

    def maybe(one: Indices, other: Indices) -> Mask:
        near: Mask = vectors[firsts[one]] @ vectors[firsts[other]].T >= threshold - SLACK
        return near

    return Likeness(test, score, maybe)


def same(firsts: Indices, one: Indices, other: Indices) -> Mask:
    """Whether rows are in one class."""
    first = firsts[one]
    found: Mask = (first == firsts[other]) & (first >= 0)
    return found
