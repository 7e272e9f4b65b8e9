"""Groups: rows that hang together by pairs. NumPy only.

In: pairs of row numbers, as they come. Out: of every row the smallest row of its group.
"""

from __future__ import annotations

import numpy as np

from pipeline.curation.dedup.rows import Numbers


class Groups:
    """N rows, each alone until pairs join them. The result does not depend on the order of the pairs."""

    def __init__(self, count: int) -> None:
        self.smallest: Numbers = np.arange(count)

    def join(self, first: Numbers, second: Numbers) -> None:
        """Put the rows `first[i]` and `second[i]` into one group, for every i."""
        while len(first):
            one, other = self.smallest[first], self.smallest[second]
            apart = one != other
            first, second, one, other = first[apart], second[apart], one[apart], other[apart]
            np.minimum.at(self.smallest, np.maximum(one, other), np.minimum(one, other))
            self._flatten()

    def _flatten(self) -> None:
        """Let every row point to the smallest row of its group, not to one that points on."""
        while True:
            further = self.smallest[self.smallest]
            if np.array_equal(further, self.smallest):
                return
            self.smallest = further
