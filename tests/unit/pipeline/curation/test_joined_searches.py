"""Searches of several threads share a pass if they wait for one another; each finds what it would find alone."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pytest

from pipeline.curation.search.exact import SearchResult, TopHits
from pipeline.curation.search.index.changes import Changes
from pipeline.curation.search.index.files import IndexFacts
from pipeline.curation.search.index.search import OpenIndex
from pipeline.curation.search.opened.joined import JoinedSearch
from pipeline.curation.vectors import IMAGE, Vectors
from pipeline.dataset.outcomes import RowNumbers
from pipeline.errors import RunError
from tests.fixtures.datasets import unit_vectors
from tests.fixtures.duplicates import unit
from tests.fixtures.processes import until

IDS = [f"sku-{n:02}" for n in range(40)]
ROWS, VECTORS = pa.table({"id": IDS, "source_fingerprint": IDS}), unit_vectors(IDS, 16, "image")


def alone(queries: Vectors, top: int, exclude: Sequence[Collection[str]] = ()) -> SearchResult:
    hits = TopHits(queries, top, exclude)
    hits.add(ROWS, VECTORS)
    return SearchResult(hits.hits, hits.rows)


class HeldSearch:
    """Searches when it may, and notes the queries of each pass."""

    def __init__(self) -> None:
        self.may_go, self.fails = threading.Event(), False
        self.passes: list[int] = []

    def __call__(self, queries: Vectors, top: int, exclude: Sequence[Collection[str]]) -> SearchResult:
        self.passes.append(len(queries))
        assert self.may_go.wait(30)
        if self.fails:
            raise RunError("the index is gone")
        return alone(queries, top, exclude)


@pytest.fixture
def held() -> HeldSearch:
    return HeldSearch()


Asked = tuple[Vectors, int, Sequence[Collection[str]]]


def ask(held: HeldSearch, asked: Sequence[Asked]) -> list[Future[SearchResult]]:
    """Search for the first; while that pass runs, for the others, in this order."""
    search = JoinedSearch(held)
    with ThreadPoolExecutor(len(asked)) as threads:
        running = []
        for number, one in enumerate(asked):
            running.append(threads.submit(search, *one))
            until(partial(is_there, held, search, number + 1), f"call {number}", every_s=0.001)
        held.may_go.set()
    return running


def is_there(held: HeldSearch, search: JoinedSearch, count: int) -> bool:
    return len(held.passes) + search.waiting == count


def test_calls_that_wait_share_a_pass_and_each_finds_its_own(held: HeldSearch) -> None:
    asked = [(VECTORS[n : n + 1 + n % 3], 5, [{IDS[n]}] * (1 + n % 3) if n % 2 else ()) for n in range(6)]
    found = [one.result() for one in ask(held, asked)]
    assert held.passes == [1, sum(len(queries) for queries, *_ in asked[1:])]
    assert found == [alone(*one) for one in asked]


def test_calls_for_other_numbers_of_hits_and_too_many_queries_have_passes_of_their_own(held: HeldSearch) -> None:
    many = VECTORS.repeat(3, axis=0)[:62]
    asked = [(VECTORS[:1], 5, ()), (VECTORS[:2], 5, ()), (VECTORS[:2], 6, ()), (many, 5, ()), (VECTORS[2:3], 5, ())]
    found = [one.result() for one in ask(held, asked)]
    assert held.passes == [1, 64, 2, 1]
    assert found == [alone(*one) for one in asked]


def test_an_error_of_a_pass_is_that_of_each_of_its_calls_and_later_ones_go_on(held: HeldSearch) -> None:
    held.fails = True
    failed = ask(held, [(VECTORS[n : n + 1], 5, ()) for n in range(3)])
    assert [str(one.exception()) for one in failed] == ["the index is gone"] * 3
    held.fails = False
    assert JoinedSearch(held)(VECTORS[:1], 5) == alone(VECTORS[:1], 5)


class NumberedRows:
    """The rows behind an index: their ids are their numbers."""

    def take(self, numbers: RowNumbers) -> pa.Table:
        """See `IndexRows`."""
        ids = [str(number) for number in numbers]
        return pa.table({"id": ids, "source_fingerprint": ids})


def an_index(vectors: Vectors) -> OpenIndex:
    """One that finds few of the nearest rows, and more of them if it is asked for more."""
    (rows, dim), library = vectors.shape, faiss
    index: Any = library.index_factory(dim, "HNSW4,Flat", library.METRIC_INNER_PRODUCT)
    index.add(vectors)
    facts = IndexFacts(
        kind="hnsw", vector=IMAGE, rows=rows, dim=dim, lists=0, effort=1, recall=0, size_bytes=0, state="now"
    )
    nothing: Any = None  # is read of the dataset
    return OpenIndex(nothing, facts, index, NumberedRows(), Changes(frozenset(), []))


def test_an_index_looks_no_further_for_a_query_because_of_what_another_leaves_out() -> None:
    vectors = unit(np.random.default_rng(7).standard_normal((2040, 16))).astype(np.float32)
    index, queries = an_index(vectors[40:]), vectors[:40]
    apart = [index.search(queries[n : n + 1], 5).hits[0] for n in range(39)]
    together = index.search(queries, 5, [*[()] * 39, {str(n) for n in range(400)}])
    assert together.hits[:39] == apart
