"""What links rows on one rung of the ladder.

In: gathered rows. Out: pairs of rows that hang together, and a test that tells of any two rows whether they are
duplicates on this rung. Rows that are equal are linked to the first of them, so a thousand
copies make a thousand pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.curation.dedup.pairs.compare import cosines
from pipeline.curation.dedup.pairs.hashes import near_hashes
from pipeline.curation.dedup.pairs.neighbours import Pairs
from pipeline.curation.dedup.rows import PLAIN_TEXT, Mask, Numbers, Rows
from pipeline.vocabulary import Rung

#: What is the same in rows that are equal on a rung.
EQUAL = {Rung.BYTES: "image_sha256", Rung.PIXELS: "image_pixels_xxh128", Rung.TEXT: PLAIN_TEXT}


@dataclass(frozen=True, slots=True)
class Link:
    """One rung.

    Attributes:
        rung: which.
        first, second: pairs of rows.
        holds: of rows `one[i]` and `other[i]`, whether they are duplicates on this rung.
    """

    rung: Rung
    first: Numbers
    second: Numbers
    holds: Callable[[Numbers, Numbers], Mask]


def equal_link(rows: Rows, rung: Rung) -> Link:
    """Rows of which a column is the same."""
    firsts = rows.firsts(EQUAL[rung])
    later = _later(firsts)
    return Link(rung, firsts[later], later, lambda one, other: _same(firsts, one, other))


def phash_link(rows: Rows, radius: int) -> Link:
    """Rows whose perceptual hashes differ in at most `radius` bits."""
    hashes = rows.column("image_phash")
    firsts = rows.firsts("image_phash")
    later, distinct = _later(firsts), np.unique(firsts)
    i, j = near_hashes(hashes[distinct], radius)
    return Link(
        Rung.PHASH,
        np.concatenate([firsts[later], distinct[i]]),
        np.concatenate([later, distinct[j]]),
        lambda one, other: np.bitwise_count(hashes[one] ^ hashes[other]) <= radius,
    )


def vector_link(rows: Rows, rung: Rung, vector: str, threshold: float, firsts: Numbers, pairs: Pairs) -> Link:
    """Rows whose vectors are near.

    Args:
        rows: the rows, with this vector.
        rung: which.
        vector: name of the column.
        threshold: least cosine.
        firsts: of every row the first one with the same vector, or -1.
        pairs: near pairs among the distinct vectors, numbered in the order of their first rows.
    """
    later, distinct, vectors = _later(firsts), np.unique(firsts[firsts >= 0]), rows.matrix(vector)

    def holds(one: Numbers, other: Numbers) -> Mask:
        known = (firsts[one] >= 0) & (firsts[other] >= 0)
        near: Mask = cosines(vectors, firsts[one], vectors, firsts[other]) >= threshold
        return known & (near | _same(firsts, one, other))

    return Link(
        rung,
        np.concatenate([firsts[later], distinct[pairs.first]]),
        np.concatenate([later, distinct[pairs.second]]),
        holds,
    )


def _later(firsts: Numbers) -> Numbers:
    """Rows that are not the first of their kind."""
    return np.flatnonzero((firsts >= 0) & (firsts != np.arange(len(firsts))))


def _same(firsts: Numbers, one: Numbers, other: Numbers) -> Mask:
    first = firsts[one]
    same: Mask = (first == firsts[other]) & (first >= 0)
    return same
