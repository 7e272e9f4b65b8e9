"""Runs a search: from a dataset and a request to the rows that were found.

In: a dataset and a `SearchRequest`. Out: a `SearchAnswer`, with a list of hits for each search. Nothing is written or
printed, and a caller that has the model in memory passes it. Rows that meet a condition are compared one by one, with
or without an index: the nearest among them may be far behind those that an index would look at.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pipeline.curation.encoder import encoder_of
from pipeline.curation.search.exact import Hit, SearchResult, search, search_selected
from pipeline.curation.search.groups import duplicate_groups
from pipeline.curation.search.matching import FindMatching, matching_rows
from pipeline.curation.search.queries import AskedQuery, QueryEncoder, asked_for, combined
from pipeline.curation.search.request import SearchRequest, WantedRows
from pipeline.curation.search.sides import SEARCHED, side_of
from pipeline.curation.vectors import Vectors
from pipeline.dataset.dataset import Dataset
from pipeline.phases import OnPhase, ignore
from pipeline.vocabulary import Side

if TYPE_CHECKING:
    from pipeline.model.chinese_clip import ChineseClip

#: Compares queries with every row of a column: (queries, top, ids to leave out for each) -> the nearest rows.
SearchAll = Callable[[Vectors, int, list[frozenset[str]]], SearchResult]


@dataclass(frozen=True, slots=True)
class SearchWays:
    """How rows are found.

    Attributes:
        search_all: searches every row, for requests without a condition.
        find_matching: finds the rows that meet a condition.
    """

    search_all: SearchAll
    find_matching: FindMatching = matching_rows


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
    ways = SearchWays(partial(_search_all, dataset.uri, vector, request.exact))
    result = search_vectors(dataset, request, queries, vector, [one.ids for one in asked], ways)
    return SearchAnswer(dataset.uri, side, tuple(asked), result, time.perf_counter() - began_s)


def search_vectors(
    dataset: Dataset,
    wanted: WantedRows,
    queries: Vectors,
    vector: str,
    exclude: list[frozenset[str]],
    ways: SearchWays,
) -> SearchResult:
    """The hits of the (Q, D) unit vectors `queries`; those of each leave out the ids in `exclude`.

    Args:
        dataset: the dataset.
        wanted: which rows.
        queries: of norm 1.
        vector: column to search.
        exclude: ids for each query.
        ways: how rows are found.

    Raises:
        NoGroupsError: the table of duplicates is missing or stale.
        UsageError: the condition is wrong.
        StorageError, RunError: something cannot be read.
    """
    condition: AbstractContextManager[str | None] = nullcontext()
    if wanted.where is not None:
        condition = ways.find_matching(dataset.uri, wanted.where, wanted.time_limit_s)
    with condition as matching:
        search = _RowSearch(dataset, queries, vector, exclude, ways.search_all, matching)
        if wanted.one_per_group:
            with duplicate_groups(dataset) as groups:
                found = groups.best(search, wanted.top)
        else:
            found = search.nearest(wanted.top)
    if wanted.min_similarity is None:
        return found
    least = wanted.min_similarity
    return replace(found, hits=[[hit for hit in hits if hit.similarity >= least] for hits in found.hits])


@dataclass(frozen=True, slots=True)
class _RowSearch:
    """The arguments of `search_vectors`, and the file with the keys of the rows that meet the condition, if any."""

    dataset: Dataset
    queries: Vectors
    vector: str
    exclude: list[frozenset[str]]
    search_all: SearchAll
    matching: str | None

    def nearest(self, top: int) -> SearchResult:
        """The `top` nearest rows of each query."""
        if self.matching is None:
            return self.search_all(self.queries, top, self.exclude)
        return search_selected(self.dataset, self.matching, self.queries, top, self.vector, self.exclude)

    def among(self, query: int, keys: str, top: int) -> list[Hit]:
        """The `top` nearest rows of the query of this number, among those with keys in a local Parquet file."""
        one = slice(query, query + 1)
        found = search_selected(self.dataset, keys, self.queries[one], top, self.vector, self.exclude[one])
        return found.hits[0]


def _search_all(
    out: str, vector: str, exact: bool, queries: Vectors, top: int, exclude: list[frozenset[str]]
) -> SearchResult:
    if not exact:
        try:
            from pipeline.curation.search.with_index import find
        except ModuleNotFoundError:  # faiss is in the extra `curate`, and only an index needs it
            pass
        else:
            return find(out, queries, top, vector, exclude)
    return search(out, queries, top, vector, exclude)
