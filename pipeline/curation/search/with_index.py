"""Searches with an index the rows it covers, and compares the others one by one.

In: a dataset with an index, which may be older than the dataset. Out: the result of an exact search, as far as the
index finds it. Rows added since are compared exactly, and rows that are no longer current are skipped. If there are too
many of either, every row is compared instead and a note suggests a new index.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from pipeline import storage
from pipeline.curation.current_rows import CurrentRows
from pipeline.curation.search.exact import TIE, SearchResult, SearchRows, TopHits, search, text_columns
from pipeline.curation.search.index_files import IndexFacts, load, map_uri, read_facts, selecting, set_effort, state_of
from pipeline.curation.search.index_rows import IndexRows, MappedRows, StoredRows
from pipeline.curation.search.sides import index_command
from pipeline.curation.vectors import IMAGE, KEY, Vectors, matrix
from pipeline.dataset.dataset import Dataset
from pipeline.errors import NotFoundError, RunError
from pipeline.scratch.workspace import Workspace

#: Hits beyond those requested, so that all rows that tie are among them; and the limit of such hits.
_SPARE, _MOST_WANTED = 32, 8192
#: With more rows than this that are no longer current, or were added since, an exact search is better.
_MOST_STALE, MOST_ADDED = 4096, 200_000


@dataclass(frozen=True, slots=True)
class _Changes:
    """What changed since the index was built: keys that are no longer current, and added rows."""

    stale: frozenset[tuple[str, str]]
    added: list[tuple[pa.Table, Vectors]]

    def among(self, ids: pa.Array) -> _Changes:
        """The same without the added rows that have other ids."""
        masks = [(pc.is_in(rows["id"], ids), rows, vectors) for rows, vectors in self.added]
        return _Changes(self.stale, [(rows.filter(mask), vectors[mask.to_numpy()]) for mask, rows, vectors in masks])


@dataclass(frozen=True, slots=True)
class _Selection:
    """Vectors of an index: how many, and faiss's way to search them alone and all of them."""

    rows: int
    parameters: Any


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
    changes: _Changes
    _turn: threading.Lock = field(default_factory=threading.Lock, compare=False)

    def search(self, queries: Vectors, top: int, exclude: Sequence[Collection[str]] = ()) -> SearchResult:
        """Like `exact.search`; may be called by several threads. Raises NotFoundError, RunError: the index is gone."""
        whole = _Selection(self.facts.rows, None)
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
        return partial(
            self._search, _Selection(int(chosen.sum()), selecting(self.facts, chosen)), self.changes.among(ids)
        )

    def _search(
        self, chosen: _Selection, changes: _Changes, queries: Vectors, top: int, exclude: Sequence[Collection[str]] = ()
    ) -> SearchResult:
        facts, stale, hits = self.facts, changes.stale, TopHits(queries, top, exclude)
        with self._turn:  # the effort is a property of the index
            similarities, found = _nearest(self.index, facts, queries, hits.needed + len(stale), chosen)
        _merge(hits, self.rows, similarities, found, stale)
        for rows, vectors in changes.added:
            hits.add(rows, vectors)
        covered = chosen.rows - (len(stale) if chosen.parameters is None else 0)
        return SearchResult(hits.hits, covered + hits.rows, covered)


def open_index(dataset: Dataset, facts: IndexFacts, keep: bool = False) -> OpenIndex | None:
    """Load an index, with its rows if it is to be kept; None if it is too old to use. Raises StorageError, RunError."""
    changes = _Changes(frozenset(), []) if facts.state == state_of(dataset) else _changes(dataset, facts)
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


def _nearest(index: Any, facts: IndexFacts, queries: Vectors, needed: int, chosen: _Selection) -> tuple[Vectors, Any]:
    """(Q, N) similarities and vector numbers: the `needed` nearest, and all that tie with the last of them."""
    wanted, effort = max(1, min(chosen.rows, needed + _SPARE)), facts.effort
    while True:
        effort = max(effort, wanted) if facts.kind == "hnsw" else effort
        set_effort(index, facts.kind, effort)
        similarities, numbers = index.search(queries, wanted, params=chosen.parameters)
        if wanted >= chosen.rows or wanted >= _MOST_WANTED + needed:
            tied = False
        else:
            tied = bool((similarities[:, needed - 1] - similarities[:, -1] <= TIE).any())
        short = chosen.parameters is None and bool((numbers < 0).any()) and effort < facts.lists
        if not (tied or short):
            return similarities, numbers
        wanted = min(chosen.rows, 4 * wanted) if tied else wanted
        effort = min(facts.lists, 4 * effort) if short else effort


def _merge(
    hits: TopHits, behind: IndexRows, similarities: Vectors, found: Any, stale: Collection[tuple[str, str]]
) -> None:
    """Merge the vectors that the index found into the hits; the number -1 stands for nothing found."""
    numbers = np.unique(found[found >= 0])
    rows = behind.take(numbers)
    keys = list(zip(*(rows[name].to_pylist() for name in KEY), strict=True))
    current = np.array([key not in stale for key in keys], bool)
    for query, (some, values) in enumerate(zip(found, similarities, strict=True)):
        positions = np.searchsorted(numbers, some[some >= 0])
        kept = current[positions]
        hits.merge(query, rows.take(pa.array(positions[kept])), np.arange(kept.sum()), values[some >= 0][kept])


def _changes(dataset: Dataset, facts: IndexFacts) -> _Changes | None:
    """What changed since the index was built; None if that is too much."""
    filesystem, path = storage.arrow_filesystem(map_uri(dataset.uri, facts))
    with Workspace() as work:
        current = CurrentRows(dataset, work)
        try:
            work.register("indexed", pads.dataset(path, filesystem=filesystem))
        except OSError as error:
            cure = f"run `{index_command(dataset, facts.vector)}` again"
            raise RunError(f"The index cannot be read ({error}): {cure}.") from error
        keys = ", ".join(KEY)
        stale = work.rows(f"SELECT {keys} FROM indexed ANTI JOIN rows USING ({keys}) LIMIT {_MOST_STALE + 1}")
        added = f"SELECT place FROM rows ANTI JOIN indexed USING ({keys})"
        [(rows_added,)] = work.rows(f"SELECT count(*) FROM ({added})")
        if len(stale) > min(_MOST_STALE, facts.rows // 2) or rows_added > MOST_ADDED:
            return None
        return _Changes(frozenset(stale), list(_with_vectors(current, dataset, facts.vector, added)))


def _with_vectors(current: CurrentRows, dataset: Dataset, vector: str, sql: str) -> Iterator[tuple[pa.Table, Vectors]]:
    columns = [*KEY, *text_columns(dataset)]
    for table in current.read([*columns, vector], sql):
        table = table.filter(table[vector].is_valid())
        yield table.select(columns), matrix(table[vector])
