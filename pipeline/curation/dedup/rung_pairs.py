"""Finds the pairs of duplicate rows on one rung of the ladder.

In: gathered rows. Out: pairs that connect the duplicates, and a test whether any two rows are duplicates on this rung.
Equal rows are each paired with the first of them only, so a thousand copies make a thousand pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.curation.dedup.pairs.compare import cosines
from pipeline.curation.dedup.pairs.hashes import near_hashes
from pipeline.curation.dedup.pairs.incremental import NearVectors, VectorSearch
from pipeline.curation.dedup.rows import PLAIN_TEXT, Indices, Mask, Rows
from pipeline.vocabulary import Rung

#: The column whose equal values make rows duplicates on a rung.
EQUAL = {Rung.BYTES: "image_sha256", Rung.PIXELS: "image_pixels_xxh128", Rung.TEXT: PLAIN_TEXT}


@dataclass(frozen=True, slots=True)
class RungPairs:
    """The duplicates on one rung.

    Attributes:
        rung: which rung.
        first, second: pairs of rows.
        test: called with arrays of rows `one` and `other`; whether `one[i]` and `other[i]` are duplicates on this rung.
    """

    rung: Rung
    first: Indices
    second: Indices
    test: Callable[[Indices, Indices], Mask]


def equal_pairs(rows: Rows, rung: Rung) -> RungPairs:
    """Rows with equal values in the rung's column."""
    firsts = rows.firsts(EQUAL[rung])
    later = _later(firsts)
    return RungPairs(rung, firsts[later], later, lambda one, other: _same(firsts, one, other))


def phash_pairs(rows: Rows, radius: int) -> RungPairs:
    """Rows whose perceptual hashes differ in at most `radius` bits."""
    hashes = rows.column("image_phash")
    firsts = rows.firsts("image_phash")
    later, distinct = _later(firsts), np.unique(firsts)
    i, j = near_hashes(hashes[distinct], radius)
    return RungPairs(
        Rung.PHASH,
        np.concatenate([firsts[later], distinct[i]]),
        np.concatenate([later, distinct[j]]),
        lambda one, other: np.bitwise_count(hashes[one] ^ hashes[other]) <= radius,
    )


def vector_pairs(rows: Rows, rung: Rung, search: VectorSearch, found: NearVectors) -> RungPairs:
    """Rows whose vectors are near.

    Args:
        rows: the rows, with the vector of the search.
        rung: which rung.
        search: what was searched for.
        found: its result.
    """
    firsts, vectors = found.firsts, rows.matrix(search.vector)
    later, distinct = _later(firsts), np.unique(firsts[firsts >= 0])

    def test(one: Indices, other: Indices) -> Mask:
        known = (firsts[one] >= 0) & (firsts[other] >= 0)
        near: Mask = cosines(vectors, firsts[one], vectors, firsts[other]) >= search.threshold
        return known & (near | _same(firsts, one, other))

    return RungPairs(
        rung,
        np.concatenate([firsts[later], distinct[found.pairs.first]]),
        np.concatenate([later, distinct[found.pairs.second]]),
        test,
    )


def _later(firsts: Indices) -> Indices:
    """Rows that are equal to an earlier row."""
    return np.flatnonzero((firsts >= 0) & (firsts != np.arange(len(firsts))))


def _same(firsts: Indices, one: Indices, other: Indices) -> Mask:
    first = firsts[one]
    same: Mask = (first == firsts[other]) & (first >= 0)
    return same
