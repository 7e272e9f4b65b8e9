"""Finds the duplicates on one rung of the ladder.

In: gathered rows. Out: classes of rows that are equal on the rung, and pairs of classes that are near. A thousand equal
rows are one class, and thus no pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.curation.dedup.links.likeness import EQUAL, Likeness, by_phash, by_turned_phash, by_value, by_vector
from pipeline.curation.dedup.pairs.hashes import near_hashes
from pipeline.curation.dedup.pairs.incremental import NearVectors, VectorSearch
from pipeline.curation.dedup.rows import Indices, Rows
from pipeline.images.measures.phash import turned
from pipeline.vocabulary import Rung


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
    return RungPairs(rung, firsts, none, none, none, by_value(firsts))


def phash_pairs(rows: Rows, radius: int) -> RungPairs:
    """Rows whose perceptual hashes differ in at most `radius` bits."""
    hashes, firsts = rows.column("image_phash"), rows.firsts("image_phash")
    distinct = np.unique(firsts)
    i, j = near_hashes(hashes[distinct], radius)
    none = np.empty(0, np.int64)
    return RungPairs(Rung.PHASH, firsts, distinct[i], distinct[j], none, by_phash(hashes, radius))


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
    first, second, none = distinct[near[:, 0]], distinct[near[:, 1]], np.empty(0, np.int64)
    return RungPairs(Rung.MIRRORED, firsts, first, second, none, by_turned_phash(hashes, radius))


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
    pairs = found.pairs
    near = (distinct[pairs.first], distinct[pairs.second], distinct[pairs.crowded])
    return RungPairs(rung, firsts, *near, by_vector(vectors, firsts, search.threshold))
