"""Keeps a dataset open for any number of searches: its current rows and its indexes are read once, not for each.

In: a dataset. Out: an `OpenDataset`, one state of it; `refreshed` gives the next one when the dataset or an index has
changed. A column of vectors with an index is searched through that; the vectors of a small one without are kept in
memory. A large one without is left out, since each search would read all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.curation.current_rows import CurrentRows
from pipeline.curation.search.exact import SearchResult, TopHits, text_columns
from pipeline.curation.search.index_files import IndexFacts, read_facts, state_of
from pipeline.curation.search.run import SearchAll
from pipeline.curation.search.sides import index_command
from pipeline.curation.search.with_index import MOST_ADDED, open_index
from pipeline.curation.values.json_values import json_rows
from pipeline.curation.vectors import Block, VectorRows, Vectors
from pipeline.dataset.dataset import Dataset
from pipeline.scratch.workspace import Workspace

#: What is searched: a digest of the dataset's files, and its indexes.
_Version = tuple[str, tuple[IndexFacts | None, ...]]


@dataclass(frozen=True, slots=True)
class OpenDataset:
    """One state of a dataset.

    Attributes:
        dataset: the dataset.
        columns: a search of each column of vectors that can be searched.
    """

    dataset: Dataset
    columns: Mapping[str, SearchAll]
    _version: _Version

    def refreshed(self) -> OpenDataset:
        """The dataset as it is now; this very object if nothing changed. Raises StorageError, RunError."""
        return self if _version_of(self.dataset) == self._version else open_dataset(self.dataset)


def open_dataset(dataset: Dataset) -> OpenDataset:
    """Read what searches need. Raises StorageError, RunError."""
    version = _version_of(dataset)
    opened = {
        vector: _opened(dataset, vector, facts)
        for vector, facts in zip(dataset.identity.vector_columns, version[1], strict=True)
    }
    return OpenDataset(dataset, {vector: search for vector, search in opened.items() if search}, version)


def _version_of(dataset: Dataset) -> _Version:
    facts = tuple(read_facts(dataset.uri, vector) for vector in dataset.identity.vector_columns)
    return state_of(dataset), facts


def _opened(dataset: Dataset, vector: str, facts: IndexFacts | None) -> SearchAll | None:
    """A search of every row with this vector; None if there are too many rows and no usable index."""
    index = facts and open_index(dataset, facts)
    if index:
        return index.search
    rows = VectorRows(dataset.uri, vector, text_columns(dataset))
    if rows.total > MOST_ADDED:
        return None
    outdated = (f"the index is out of date: run `{index_command(dataset, vector)}`",) if facts else ()
    return _RowsInMemory(tuple(rows.blocks()), outdated).search


@dataclass(frozen=True, slots=True)
class _RowsInMemory:
    """The rows of a small dataset."""

    blocks: tuple[Block, ...]
    notes: tuple[str, ...]

    def search(self, queries: Vectors, top: int, exclude: Sequence[Collection[str]] = ()) -> SearchResult:
        """Like `exact.search`."""
        hits = TopHits(queries, top, exclude)
        for block in self.blocks:
            hits.add(block.rows, block.vectors)
        return SearchResult(hits.hits, hits.rows, notes=self.notes)


def columns_of(dataset: Dataset, ids: Sequence[str], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Columns of the current rows with these ids, as JSON has values. Raises StorageError, RunError."""
    with Workspace() as work:
        current = CurrentRows(dataset, work, ids)
        names = ["id", *columns]
        tables = current.read(names, current.named(ids))
        return {row["id"]: row for table in tables for row in json_rows(table.select(names))}
