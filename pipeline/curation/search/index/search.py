"""Searches with an index the rows it covers, and compares the others one by one.

In: a dataset with an index, which may be older than the dataset. Out: the result of an exact search, as far as the
index finds it. Rows added since are compared exactly, and rows that are no longer current are skipped. If there are too
many of either, every row is compared instead and a note suggests a new index.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.curation.search.exact import SearchResult, SearchRows, TopHits, search
from pipeline.curation.search.index.changes import Changes, changes_since
from pipeline.curation.search.index.files import IndexFacts, load, read_facts, selector, state_of
from pipeline.curation.search.index.nearest import IndexPart, Nearest, VectorHits
from pipeline.curation.search.index.rows import IndexRows, MappedRows, StoredRows
from pipeline.curation.search.sides import index_command
from pipeline.curation.vectors import IMAGE, KEY, Vectors
from pipeline.dataset.dataset import Dataset
from pipeline.errors import NotFoundError, RunError


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """An index in memory with what changed since it was built: one state of a dataset, for any number of searches.

    Attributes:
        dataset: the dataset.
        facts: the index.
        index: faiss's.
        rows: those behind its vectors.
        changes: since it was built.
    """

    dataset: Dataset
    facts: IndexFacts
    index: Any
    rows: IndexRows
    changes: Changes

    def search(self, queries: Vectors, top: int, exclude: Sequence[Collection[str]] = ()) -> SearchResult:
        """Like `exact.search`; may be called by several threads. Raises NotFoundError, RunError: the index is gone."""
        whole = IndexPart(self.facts.rows, self.facts.effort)
        found = self._search(whole, self.changes, queries, top, exclude)
        newer = found.rows - found.by_index
        if not newer:
            return found
        cure = f"run `{index_command(self.dataset, self.facts.vector)}`"
        note = f"{newer:,} {'row is' if newer == 1 else 'rows are'} not in the index yet: {cure}"
        return replace(found, notes=(note,))

    def among(self, ids: pa.Array) -> SearchRows | None:
        """A search that compares every row with one of these ids; None if this kind of index has none."""
        if self.facts.kind == "hnsw" or not isinstance(self.rows, MappedRows):
            return None
        chosen = self.rows.with_ids(ids)
        if self.changes.stale:
            chosen &= ~self.rows.with_ids(pa.array([id_ for id_, _ in self.changes.stale], pa.string()))
        some = IndexPart(int(chosen.sum()), self.facts.lists, selector(chosen))
        return partial(self._search, some, self.changes.among(ids))

    def _search(
        self, chosen: IndexPart, changes: Changes, queries: Vectors, top: int, exclude: Sequence[Collection[str]] = ()
    ) -> SearchResult:
        stale, hits = changes.stale, TopHits(queries, top, exclude)
        found = self._nearest(chosen, queries, [needed + len(stale) for needed in hits.needed])
        _merge(hits, self.rows, found, stale)
        for rows, vectors in changes.added:
            hits.add(rows, vectors)
        covered = chosen.rows - (len(stale) if chosen.selector is None else 0)
        return SearchResult(hits.hits, covered + hits.rows, covered)

    def _nearest(self, chosen: IndexPart, queries: Vectors, needed: Sequence[int]) -> list[VectorHits]:
        """What is found for each query.

        Where not every vector is compared, more is found if more hits are asked for. So queries that need other numbers
        of hits are searched apart: what one finds does not depend on what those beside it leave out.
        """
        each = np.array(needed)
        if self.facts.kind != "hnsw" and chosen.effort == self.facts.lists:
            each[:] = each.max()
        found: dict[int, VectorHits] = {}
        for most in np.unique(each).tolist():
            own = np.flatnonzero(each == most)
            nearest = Nearest(self.index, self.facts, chosen, most).of(queries[own])
            found |= zip(own.tolist(), nearest, strict=True)
        return [found[number] for number in range(len(queries))]


def open_index(dataset: Dataset, facts: IndexFacts, keep: bool = False) -> OpenIndex | None:
    """Load an index, with its rows if it is to be kept; None if it is too old to use. Raises StorageError, RunError."""
    changes = Changes(frozenset(), []) if facts.state == state_of(dataset) else changes_since(dataset, facts)
    if changes is None:
        return None
    rows = (MappedRows if keep else StoredRows)(dataset.uri, facts)
    return OpenIndex(dataset, facts, load(dataset.uri, facts), rows, changes)


def find(
    out: str, queries: Vectors, top: int, vector: str = IMAGE, exclude: Sequence[Collection[str]] = ()
) -> SearchResult:
    """Like `exact.search`, but with the index if it is usable.

    Raises:
        UsageError: the dataset has no such vectors.
        IdentityError, StorageError, RunError: the dataset or the index cannot be read.
    """
    found = search_index(out, queries, top, vector, exclude)
    if found is not None:
        return found
    result = search(out, queries, top, vector, exclude)
    dataset = Dataset.open(out)
    if read_facts(dataset.uri, vector) is None:
        return result
    note = f"the index is out of date, so every row was compared: run `{index_command(dataset, vector)}`"
    return replace(result, notes=(note,))


def search_index(
    out: str, queries: Vectors, top: int, vector: str = IMAGE, exclude: Sequence[Collection[str]] = ()
) -> SearchResult | None:
    """Like `exact.search`, but with the index; None if there is none, or if it is too old to use.

    Raises:
        IdentityError, StorageError, RunError: the dataset or the index cannot be read.
    """
    dataset = Dataset.open(out)
    facts = read_facts(dataset.uri, vector)
    while facts is not None:
        try:
            opened = open_index(dataset, facts)
            return None if opened is None else opened.search(queries, top, exclude)
        except (NotFoundError, RunError):
            now = read_facts(dataset.uri, vector)
            if now == facts:
                raise
            facts = now  # The index was replaced in the meantime, and its files were deleted.
    return None


def _merge(hits: TopHits, behind: IndexRows, found: Sequence[VectorHits], stale: Collection[tuple[str, str]]) -> None:
    """Merge the vectors that the index found into the hits."""
    numbers = np.unique(np.concatenate([one.numbers for one in found]))
    numbers = numbers[numbers >= 0]
    rows = behind.take(numbers)
    keys = list(zip(*(rows[name].to_pylist() for name in KEY), strict=True))
    current = np.array([key not in stale for key in keys], bool)
    for query, one in enumerate(found):
        there = one.numbers >= 0
        positions = np.searchsorted(numbers, one.numbers[there])
        kept = current[positions]
        hits.merge(query, rows.take(pa.array(positions[kept])), np.arange(kept.sum()), one.similarities[there][kept])
