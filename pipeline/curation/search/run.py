"""Runs a search: from a dataset and a request to the rows that were found.

In: a dataset and a `SearchRequest`. Out: a `SearchAnswer`, with a list of hits for each search. Nothing is written or
printed, and a caller that has the model in memory passes it. Rows that meet a condition are compared one by one, with
or without an index: the nearest among them may be far behind those that an index would look at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pipeline.curation.encoder import encoder_of
from pipeline.curation.search.exact import Hit, SearchResult, SearchRows, search, search_selected
from pipeline.curation.search.groups import DuplicateGroups, duplicate_groups
from pipeline.curation.search.matching import matching_rows
from pipeline.curation.search.queries import AskedQuery, QueryEncoder, asked_for, combined
from pipeline.curation.search.request import SearchRequest, WantedRows
from pipeline.curation.search.sides import SEARCHED, side_of
from pipeline.curation.vectors import Vectors
from pipeline.dataset.dataset import Dataset
from pipeline.phases import OnPhase, ignore
from pipeline.vocabulary import Side

if TYPE_CHECKING:
    from pipeline.model.chinese_clip import ChineseClip


@dataclass(frozen=True, slots=True)
class Matching:
    """The rows that a request is about.

    Attributes:
        search: searches them.
        keys: local Parquet file with their keys; None for all rows.
    """

    search: SearchRows
    keys: str | None = None


class Searchable(Protocol):
    """The rows of a dataset that have a vector in one column."""

    def matching(self, wanted: WantedRows) -> AbstractContextManager[Matching]:
        """Those that meet the condition, in the block; all without one. Raises UsageError: the condition is wrong."""

    def groups(self) -> AbstractContextManager[DuplicateGroups]:
        """Their groups of duplicates, in the block. Raises NoGroupsError."""


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """The result of a request.

    Attributes:
        out: the dataset.
        side: what was searched.
        asked: the searches, in the order of `result.hits`.
        result: what they found.
        search_s: seconds that the searches took, without loading the model.
    """

    out: str
    side: Side
    asked: tuple[AskedQuery, ...]
    result: SearchResult
    search_s: float


def search_dataset(
    out: str,
    request: SearchRequest,
    load: Callable[[], ChineseClip] | None = None,
    read: Callable[[str], bytes] | None = None,
    on_phase: OnPhase = ignore,
) -> SearchAnswer:
    """Search the dataset at `out`.

    Args:
        out: the dataset.
        request: what to search for.
        load: gives the dataset's model; called only for queries that must be encoded. Without it the model is loaded.
        read: gives the bytes of an image by the value of its query. Without it they are read from that address.
        on_phase: reports what is being done.

    Raises:
        UsageError: a query, the condition or an option does not fit the dataset, or a table that is needed is missing
            or stale.
        IdentityError, ModelError: there is no dataset, or its model is not to be had.
        StorageError, RunError: something cannot be read.
    """
    dataset = Dataset.open(out)
    side = side_of(dataset, request.searched)
    vector, asked = SEARCHED[side], asked_for(request)
    on_phase("Loading the dataset's model", 0, None)
    encoder = QueryEncoder(dataset.uri, vector, load or partial(encoder_of, out), read)
    vectors = encoder.encode([part for one in asked for part in (*one.parts, *one.without)])
    queries = np.stack([combined(one, vectors) for one in asked])
    on_phase("Searching", 0, None)
    began_s = time.perf_counter()
    rows = _StoredRows(dataset, vector, request.exact)
    result = search_vectors(dataset, request, queries, vector, [one.ids for one in asked], rows)
    return SearchAnswer(dataset.uri, side, tuple(asked), result, time.perf_counter() - began_s)


def search_vectors(
    dataset: Dataset,
    wanted: WantedRows,
    queries: Vectors,
    vector: str,
    exclude: list[frozenset[str]],
    rows: Searchable,
) -> SearchResult:
    """The hits of the (Q, D) unit vectors `queries`; those of each leave out the ids in `exclude`.

    Args:
        dataset: the dataset.
        wanted: which rows.
        queries: of norm 1.
        vector: column to search.
        exclude: ids for each query.
        rows: those of the dataset with such vectors.

    Raises:
        NoGroupsError: the table of duplicates is missing or stale.
        UsageError: the condition is wrong.
        StorageError, RunError: something cannot be read.
    """
    with rows.matching(wanted) as matching:
        search = _RowSearch(dataset, queries, vector, exclude, matching)
        if wanted.one_per_group:
            with rows.groups() as groups:
                found = groups.best(search, wanted.top)
        else:
            found = search.nearest(wanted.top)
    if wanted.min_similarity is None:
        return found
    least = wanted.min_similarity
    return replace(found, hits=[[hit for hit in hits if hit.similarity >= least] for hits in found.hits])


@dataclass(frozen=True, slots=True)
class _RowSearch:
    """The arguments of `search_vectors`, and the rows that the request is about."""

    dataset: Dataset
    queries: Vectors
    vector: str
    exclude: list[frozenset[str]]
    rows: Matching

    @property
    def matching(self) -> str | None:
        """Local Parquet file with the keys of these rows; None for all."""
        return self.rows.keys

    def nearest(self, top: int) -> SearchResult:
        """The `top` nearest rows of each query."""
        return self.rows.search(self.queries, top, self.exclude)

    def among(self, query: int, keys: str, top: int) -> list[Hit]:
        """The `top` nearest rows of the query of this number, among those with keys in a local Parquet file."""
        one = slice(query, query + 1)
        found = search_selected(self.dataset, keys, self.vector, self.queries[one], top, self.exclude[one])
        return found.hits[0]


@dataclass(frozen=True, slots=True)
class _StoredRows:
    """The rows of a dataset as they are stored."""

    dataset: Dataset
    vector: str
    exact: bool

    @contextmanager
    def matching(self, wanted: WantedRows) -> Iterator[Matching]:
        """See `Searchable`."""
        if wanted.where is None:
            yield Matching(partial(_search_all, self.dataset.uri, self.vector, self.exact))
            return
        with matching_rows(self.dataset.uri, wanted.where, wanted.time_limit_s) as keys:
            yield Matching(partial(search_selected, self.dataset, keys, self.vector), keys)

    def groups(self) -> AbstractContextManager[DuplicateGroups]:
        """See `Searchable`."""
        return duplicate_groups(self.dataset)


def _search_all(
    out: str, vector: str, exact: bool, queries: Vectors, top: int, exclude: list[frozenset[str]]
) -> SearchResult:
    if not exact:
        try:
            from pipeline.curation.search.index.search import find
        except ModuleNotFoundError:  # faiss is in the extra `curate`, and only an index needs it
            pass
        else:
            return find(out, queries, top, vector, exclude)
    return search(out, queries, top, vector, exclude)
