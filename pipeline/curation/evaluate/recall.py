"""Finds the exact nearest neighbours of many queries in a stream of vectors, and computes recall.

In: (Q, D) queries, then candidates a block at a time. Out: for each query the ten candidates with the largest inner
product in float32, best first; ties keep the order of the stream, as a stable sort does. Only the queries and their
ten best are in memory, however many candidates there are. Recall follows the published order of operations, so that
figures agree to the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.curation.vectors import Vectors

RANKS = (1, 5, 10)
NEAREST = max(RANKS)

Hits = npt.NDArray[np.bool_]

_QUERIES_AT_ONCE = 1024
_CANDIDATES_AT_ONCE = 4096  # times the queries above: 16 MiB of products, which still fit the caches


@dataclass(frozen=True, slots=True)
class Recall:
    """How many queries found a relevant candidate.

    Attributes:
        queries: all queries, including those without any relevant candidate.
        found: queries with a relevant candidate among the first 1, 5 and 10.
    """

    queries: int
    found: tuple[int, int, int]

    @property
    def at(self) -> tuple[float, float, float]:
        """R@1, R@5 and R@10 in percent, not rounded."""
        r1, r5, r10 = (share * 100 for share in self._shares)
        return r1, r5, r10

    @property
    def mean(self) -> float:
        """The mean of the three in percent, not rounded."""
        r1, r5, r10 = self._shares
        return (r1 + r5 + r10) / 3.0 * 100

    @property
    def _shares(self) -> tuple[float, float, float]:
        r1, r5, r10 = (count / self.queries for count in self.found)
        return r1, r5, r10


def found_at(relevant: Hits) -> tuple[int, int, int]:
    """How many of Q queries have a relevant one among their first 1, 5, 10; `relevant` is (Q, 10), best first."""
    r1, r5, r10 = (int(relevant[:, :rank].any(axis=1).sum()) for rank in RANKS)
    return r1, r5, r10


class TopK:
    """The best `k` candidates of each query so far.

    Attributes:
        scores: (Q, k) float32, descending; minus infinity if there were fewer candidates.
        positions: (Q, k) positions in the stream, from 0; -1 if there were fewer candidates.
    """

    def __init__(self, queries: Vectors, k: int = NEAREST) -> None:
        self.scores = np.full((len(queries), k), -np.inf, np.float32)
        self.positions = np.full((len(queries), k), -1, np.int64)
        self._queries, self._k, self._seen = queries, k, 0

    def add(self, candidates: Vectors) -> None:
        """Compare the next (B, D) candidates of the stream."""
        for first in range(0, len(candidates), _CANDIDATES_AT_ONCE):
            tile = candidates[first : first + _CANDIDATES_AT_ONCE].T
            for start in range(0, len(self._queries), _QUERIES_AT_ONCE):
                part = slice(start, start + _QUERIES_AT_ONCE)
                self._merge(part, self._queries[part] @ tile)
            self._seen += tile.shape[1]

    def _merge(self, part: slice, products: Vectors) -> None:
        """Merge (q, c) products of the queries in `part`; only those above the k-th best can change anything."""
        above = np.flatnonzero(products > self._floor(part, products)[:, None])
        if not len(above):
            return
        rows, columns = np.divmod(above, products.shape[1])
        changed, row_of = np.unique(rows, return_inverse=True)
        scores, positions = self.scores[part], self.positions[part]
        owner = np.concatenate([row_of, np.repeat(np.arange(len(changed)), self._k)])
        score = np.concatenate([products[rows, columns], scores[changed].ravel()])
        position = np.concatenate([columns + self._seen, positions[changed].ravel()])
        order = np.lexsort((position, -score, owner))
        first_of = np.searchsorted(owner[order], np.arange(len(changed)))
        best = order[first_of[:, None] + np.arange(self._k)]
        scores[changed], positions[changed] = score[best], position[best]

    def _floor(self, part: slice, products: Vectors) -> npt.NDArray[np.float32]:
        """(q,) the score to exceed. A later candidate of equal score never displaces an earlier one."""
        floor = self.scores[part, -1]
        if products.shape[1] > self._k and np.isneginf(floor).any():
            kth = np.partition(products, -self._k, axis=1)[:, -self._k]
            return np.maximum(floor, np.nextafter(kth, np.float32(-np.inf)))
        return floor
