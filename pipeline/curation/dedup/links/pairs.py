"""Finds the duplicates on one rung of the ladder.

In: gathered rows. Out: classes of rows that are equal on the rung, and pairs of classes that are near. A thousand equal
rows are one class, and thus no pair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.curation.dedup.pairs.compare import SLACK, cosines
from pipeline.curation.dedup.pairs.hashes import near_hashes, turned_bits
from pipeline.curation.dedup.pairs.incremental import NearVectors, VectorSearch
from pipeline.curation.dedup.rows import PLAIN_TEXT, Indices, Mask, Rows
from pipeline.images.measures.phash import turned
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


@dataclass(frozen=True, slots=True)
class RungPairs:
    """The duplicates on one rung.

    Attributes:
        rung: its name, such as `image` or `image+text`.
        firsts: (N,) the first row of each row's class; -1 for rows that the rung does not compare.
        first, second: pairs of near classes, each by its first row.
        crowded: classes, by their first rows, that have more near classes than are listed. The listed pairs connect
            them nevertheless.
        likeness: compares any two rows.
    """

    rung: str
    firsts: Indices
    first: Indices
    second: Indices
    crowded: Indices
    likeness: Likeness

    def linked(self) -> tuple[Indices, Indices]:
        """Pairs of rows that connect all duplicates."""
        later = np.flatnonzero((self.firsts >= 0) & (self.firsts != np.arange(len(self.firsts))))
        return np.concatenate([self.firsts[later], self.first]), np.concatenate([later, self.second])


def equal_pairs(rows: Rows, rung: Rung) -> RungPairs:
    """Rows with equal values in the rung's column."""
    none, firsts = np.empty(0, np.int64), rows.firsts(EQUAL[rung])
    likeness = Likeness(lambda one, other: same(firsts, one, other), lambda one, _: np.zeros(len(one)))
    return RungPairs(rung, firsts, none, none, none, likeness)


def phash_pairs(rows: Rows, radius: int) -> RungPairs:
    """Rows whose perceptual hashes differ in at most `radius` bits."""
    hashes, firsts = rows.column("image_phash"), rows.firsts("image_phash")
    distinct = np.unique(firsts)
    i, j = near_hashes(hashes[distinct], radius)
    likeness = Likeness(
        lambda one, other: np.bitwise_count(hashes[one] ^ hashes[other]) <= radius,
        lambda one, other: -np.bitwise_count(hashes[one] ^ hashes[other]).astype(np.float64),
        lambda one, other: np.bitwise_count(hashes[one][:, None] ^ hashes[other]) <= radius,
    )
    return RungPairs(Rung.PHASH, firsts, distinct[i], distinct[j], np.empty(0, np.int64), likeness)


def mirrored_pairs(rows: Rows, radius: int) -> RungPairs:
    """Rows of which one's hash, mirrored or rotated by quarters, differs in at most `radius` bits; and equal hashes."""
    hashes, firsts = rows.column("image_phash"), rows.firsts("image_phash")
    distinct = np.unique(firsts)
    own, found = hashes[distinct], [np.empty((0, 2), np.int64)]
    for other in turned(own):
        i, j = near_hashes(np.concatenate([own, other]), radius)
        across = (i < len(own)) & (j >= len(own)) & (i != j - len(own))
        found.append(np.sort(np.column_stack([i[across], j[across] - len(own)]), axis=1))
    near = np.unique(np.concatenate(found), axis=0)
    likeness = Likeness(
        lambda one, other: (
            turned_bits(hashes[one], hashes[other]) <= np.where(hashes[one] == hashes[other], 64, radius)
        ),
        lambda one, other: -turned_bits(hashes[one], hashes[other]).astype(np.float64),
    )
    return RungPairs(Rung.MIRRORED, firsts, distinct[near[:, 0]], distinct[near[:, 1]], np.empty(0, np.int64), likeness)


def vector_pairs(rows: Rows, rung: Rung, search: VectorSearch, found: NearVectors) -> RungPairs:
    """Rows whose vectors are near.

    Args:
        rows: the rows, with the vector of the search.
        rung: which rung.
        search: what was searched for.
        found: its result.
    """
    firsts, vectors = found.firsts, rows.matrix(search.vector)
    distinct = np.unique(firsts[firsts >= 0])

    def score(one: Indices, other: Indices) -> Scores:
        return cosines(vectors, firsts[one], vectors, firsts[other])

    def test(one: Indices, other: Indices) -> Mask:
        known = (firsts[one] >= 0) & (firsts[other] >= 0)
        near: Mask = score(one, other) >= search.threshold
        return known & (near | same(firsts, one, other))

    def maybe(one: Indices, other: Indices) -> Mask:
        near: Mask = vectors[firsts[one]] @ vectors[firsts[other]].T >= search.threshold - SLACK
        return near

    pairs = found.pairs
    near = (distinct[pairs.first], distinct[pairs.second], distinct[pairs.crowded])
    return RungPairs(rung, firsts, *near, Likeness(test, score, maybe))


def same(firsts: Indices, one: Indices, other: Indices) -> Mask:
    """Whether rows are in one class."""
    first = firsts[one]
    found: Mask = (first == firsts[other]) & (first >= 0)
    return found
