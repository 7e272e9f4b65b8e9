"""Exact nearest neighbours of many queries in a stream of vectors, and the recall that they make.

In: (Q, D) queries, then candidates a block at a time. Out: for each query the first ten candidates by inner product in
float32, best first; candidates of equal score stay in the order in which they came, as a stable sort leaves them. Only
the queries and their ten best are held, so that the candidates may be of any number. Recall is computed in the
published order of operations, so that figures agree to the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.curation.vectors import Vectors

RANKS = (1, 5, 10)
NEAREST = max(RANKS)

Hits = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

_QUERIES_AT_ONCE = 1024
_CANDIDATES_AT_ONCE = 4096  # with the queries above 16 MiB of products, which caches still serve


@dataclass(frozen=True, slots=True)
class Recall:
    """How many of the queries found something right.

    Attributes:
        queries: how many were asked; without a right answer in sight they count as missed.
        found: of them, those with a right answer among the first 1, 5 and 10.
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


def found_at(right: Hits) -> tuple[int, int, int]:
    """How many of Q queries have a right one among their first 1, 5, 10; `right` is (Q, 10), best first."""
    r1, r5, r10 = (int(right[:, :rank].any(axis=1).sum()) for rank in RANKS)
    return r1, r5, r10


class Nearest:
    """The best `k` candidates of each query so far.

    Attributes:
        scores: (Q, k) float32, descending; minus infinity where there were fewer candidates.
        positions: (Q, k) of them in the stream, from 0; -1 where there were fewer.
    """

    def __init__(self, queries: Vectors, k: int = NEAREST) -> None:
        self.scores = np.full((len(queries), k), -np.inf, np.float32)
        self.positions = np.full((len(queries), k), -1, np.int64)
        self._queries, self._k, self._seen = queries, k, 0

    def add(self, candidates: Vectors) -> None:
        """Take the next (B, D) candidates of the stream."""
        for first in range(0, len(candidates), _CANDIDATES_AT_ONCE):
            tile = candidates[first : first + _CANDIDATES_AT_ONCE].T
            for start in range(0, len(self._queries), _QUERIES_AT_ONCE):
                part = slice(start, start + _QUERIES_AT_ONCE)
                self._take(part, self._queries[part] @ tile)
            self._seen += tile.shape[1]

    def _take(self, part: slice, products: Vectors) -> None:
        """Merge (q, c) products of the queries in `part`; those that are not above the k-th best change nothing."""
        over = np.flatnonzero(products > self._floor(part, products)[:, None])
        if not len(over):
            return
        rows, columns = np.divmod(over, products.shape[1])
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
        """What a product must be above to matter: (q,). A later candidate of equal score never displaces another."""
        floor = self.scores[part, -1]
        if products.shape[1] > self._k and np.isneginf(floor).any():
            kth = np.partition(products, -self._k, axis=1)[:, -self._k]
            return np.maximum(floor, np.nextafter(kth, np.float32(-np.inf)))
        return floor
