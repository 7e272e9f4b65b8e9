"""Union-find: joins pairs of rows into groups. NumPy only.

In: pairs of row numbers, a batch at a time. Out: the root of every row, which is the smallest row of its group.
"""

from __future__ import annotations

import numpy as np

from pipeline.curation.dedup.rows import Indices


class UnionFind:
    """N rows, each a group by itself until pairs join it to others. The order of the pairs does not matter.

    Attributes:
        roots: (N,) the smallest row of each row's group.
    """

    def __init__(self, count: int) -> None:
        self.roots: Indices = np.arange(count)

    def join(self, first: Indices, second: Indices) -> None:
        """Merge the groups of `first[i]` and `second[i]`, for every i."""
        while len(first):
            one, other = self.roots[first], self.roots[second]
            separate = one != other
            first, second, one, other = first[separate], second[separate], one[separate], other[separate]
            np.minimum.at(self.roots, np.maximum(one, other), np.minimum(one, other))
            self._compress_paths()

    def _compress_paths(self) -> None:
        """Let every row point directly to its root."""
        while True:
            parents = self.roots[self.roots]
            if np.array_equal(parents, self.roots):
                return
            self.roots = parents
