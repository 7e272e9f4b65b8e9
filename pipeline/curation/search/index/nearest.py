"""Finds the vectors of an index that are nearest to queries.

In: an index, unit vectors, and which of the index's vectors to look at. Out: similarities and numbers of vectors, among
them all that tie with the last one wanted, so that ties can be put in an order that does not depend on the index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.curation.search.exact import TIE
from pipeline.curation.search.index.files import IndexFacts, parameters
from pipeline.curation.vectors import Vectors

#: Hits beyond those requested, so that all rows that tie are among them; and the limit of such hits.
_SPARE, _MOST_WANTED = 32, 8192


@dataclass(frozen=True, slots=True)
class IndexPart:
    """Vectors of an index that are searched.

    Attributes:
        rows: how many they are.
        effort: how much of the index is visited, see `IndexFacts.effort`.
        selector: faiss's choice of these vectors; None: all of the index.
    """

    rows: int
    effort: int
    selector: Any = None


@dataclass(frozen=True, slots=True)
class VectorHits:
    """What an index found for a query, most similar first: (N,) similarities and vector numbers, -1 for nothing."""

    similarities: npt.NDArray[np.float32]
    numbers: npt.NDArray[np.int64]

    def ties(self, needed: int) -> bool:
        """Whether the last of all may tie with the last of the first `needed`."""
        return bool(self.similarities[needed - 1] - self.similarities[-1] <= TIE)


@dataclass(frozen=True, slots=True)
class Nearest:
    """Finds for each query the `needed` nearest of some vectors, and all that tie with the last of them.

    What a query finds does not depend on the queries beside it. Several threads may search an index at once.

    Attributes:
        index: faiss's.
        facts: its metadata.
        chosen: the vectors.
        needed: at least 1.
    """

    index: Any
    facts: IndexFacts
    chosen: IndexPart
    needed: int

    def of(self, queries: Vectors) -> list[VectorHits]:
        """What is found for each of (Q, D) unit vectors."""
        wanted = max(1, min(self.chosen.rows, self.needed + _SPARE))
        found = self._visited(queries, wanted, self.chosen.effort)
        return [self._widened(queries[number : number + 1], one) for number, one in enumerate(found)]

    def _visited(self, queries: Vectors, wanted: int, effort: int) -> list[VectorHits]:
        effort = max(effort, wanted) if self.facts.kind == "hnsw" else effort
        given = parameters(self.facts.kind, effort, self.chosen.selector)
        return [VectorHits(*one) for one in zip(*self.index.search(queries, wanted, params=given), strict=True)]

    def _widened(self, query: Vectors, found: VectorHits) -> VectorHits:
        """What is found of one query, searched again with more hits and more effort as long as it needs them."""
        effort = self.chosen.effort
        while True:
            wanted = len(found.numbers)
            tied = wanted < min(self.chosen.rows, _MOST_WANTED + self.needed) and found.ties(self.needed)
            short = effort < self.facts.lists and bool((found.numbers < 0).any())
            if not (tied or short):
                return found
            wanted = min(self.chosen.rows, 4 * wanted) if tied else wanted
            effort = min(self.facts.lists, 4 * effort) if short else effort
            [found] = self._visited(query, wanted, effort)
