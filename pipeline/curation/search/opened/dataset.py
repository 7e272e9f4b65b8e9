"""Keeps a dataset open for any number of searches: its current rows and its indexes are read once, not for each.

In: a dataset. Out: an `OpenDataset`, one state of it; `refreshed` gives the next one when the dataset or an index has
changed. A column of vectors with an index is searched through that; the vectors of a small one without are kept in
memory. A large one without is left out, since each search would read all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.curation.search.exact import SearchResult, SearchRows, TopHits, search_selected, text_columns
from pipeline.curation.search.groups import DuplicateGroups
from pipeline.curation.search.index.changes import MOST_ADDED
from pipeline.curation.search.index.files import IndexFacts, read_facts, state_of
from pipeline.curation.search.index.search import open_index
from pipeline.curation.search.opened.conditions import HowToMatch, KnownConditions
from pipeline.curation.search.opened.joined import JoinedSearch
from pipeline.curation.search.opened.rows import OpenRows
from pipeline.curation.search.request import WantedRows
from pipeline.curation.search.run import Matching
from pipeline.curation.search.sides import index_command
from pipeline.curation.vectors import Block, VectorRows, Vectors
from pipeline.dataset.dataset import Dataset

#: What is searched: a digest of the dataset's files, and its indexes.
_Version = tuple[str, tuple[IndexFacts | None, ...]]


class _Vectors(Protocol):
    """The vectors of a column."""

    def search(self, queries: Vectors, top: int, exclude: Sequence[Collection[str]] = ()) -> SearchResult:
        """Like `exact.search`."""

    def among(self, ids: pa.Array) -> SearchRows | None:
        """A search of the rows with these ids; None if these vectors have none."""


class OpenColumn:
    """The rows with a vector in one column: a `Searchable`.

    Args:
        dataset: the dataset.
        name: the column.
        vectors: those of the column; None if they are too many to be searched without an index.
        rows: the rows of the dataset.
        how: see `HowToMatch`.

    Attributes:
        all: a search of all of them; None without `vectors`.
    """

    def __init__(self, dataset: Dataset, name: str, vectors: _Vectors | None, rows: OpenRows, how: HowToMatch) -> None:
        self._dataset, self._name, self._vectors, self._rows = dataset, name, vectors, rows
        self.all: SearchRows | None = JoinedSearch(vectors.search) if vectors else None
        self._conditions = KnownConditions(dataset, self._narrow, how)

    @contextmanager
    def matching(self, wanted: WantedRows) -> Iterator[Matching]:
        """See `Searchable`. Without a condition there must be `all`."""
        if wanted.where is not None:
            with self._conditions.matching(wanted.where, wanted.time_limit_s) as matching:
                yield matching
        else:
            assert self.all
            yield Matching(self.all)

    def groups(self) -> AbstractContextManager[DuplicateGroups]:
        """See `Searchable`."""
        return self._rows.groups()

    def _narrow(self, ids: pa.Array, keys: str) -> SearchRows:
        search = self._vectors.among(ids) if self._vectors else None
        return JoinedSearch(search or partial(search_selected, self._dataset, keys, self._name))


@dataclass(frozen=True, slots=True)
class OpenDataset:
    """One state of a dataset.

    Attributes:
        dataset: the dataset.
        rows: its rows.
        columns: each of its columns of vectors.
    """

    dataset: Dataset
    rows: OpenRows
    columns: Mapping[str, OpenColumn]
    _how: HowToMatch
    _version: _Version

    def refreshed(self) -> OpenDataset:
        """The dataset as it is now; this very object if nothing changed. Raises StorageError, RunError."""
        return self if _version_of(self.dataset) == self._version else open_dataset(self.dataset, self._how)


def open_dataset(dataset: Dataset, how: HowToMatch) -> OpenDataset:
    """Read what searches need. Raises StorageError, RunError.

    Args:
        dataset: the dataset.
        how: rows that meet conditions are found.
    """
    version = _version_of(dataset)
    rows = OpenRows(dataset)
    columns = {
        name: OpenColumn(dataset, name, _opened(dataset, name, facts), rows, how)
        for name, facts in zip(dataset.identity.vector_columns, version[1], strict=True)
    }
    return OpenDataset(dataset, rows, columns, how, version)


def _version_of(dataset: Dataset) -> _Version:
    facts = tuple(read_facts(dataset.uri, vector) for vector in dataset.identity.vector_columns)
    return state_of(dataset), facts


def _opened(dataset: Dataset, vector: str, facts: IndexFacts | None) -> _Vectors | None:
    """The vectors of a column; None if there are too many rows and no usable index."""
    index = facts and open_index(dataset, facts, keep=True)
    if index:
        return index
    rows = VectorRows(dataset.uri, vector, text_columns(dataset))
    if rows.total > MOST_ADDED:
        return None
    outdated = (f"the index is out of date: run `{index_command(dataset, vector)}`",) if facts else ()
    return _VectorsInMemory(tuple(rows.blocks()), outdated)


@dataclass(frozen=True, slots=True)
class _VectorsInMemory:
    """Those of a small dataset. A mask for each block leaves out rows."""

    blocks: tuple[Block, ...]
    notes: tuple[str, ...]
    masks: tuple[pa.ChunkedArray, ...] = ()

    def search(self, queries: Vectors, top: int, exclude: Sequence[Collection[str]] = ()) -> SearchResult:
        """Like `exact.search`."""
        hits = TopHits(queries, top, exclude)
        for number, block in enumerate(self.blocks):
            if self.masks:
                mask = self.masks[number]
                hits.add(block.rows.filter(mask), block.vectors[mask.to_numpy()])
            else:
                hits.add(block.rows, block.vectors)
        return SearchResult(hits.hits, hits.rows, notes=self.notes)

    def among(self, ids: pa.Array) -> SearchRows:
        """See `_Vectors`."""
        masks = tuple(pc.is_in(block.rows["id"], ids) for block in self.blocks)
        return _VectorsInMemory(self.blocks, self.notes, masks).search
