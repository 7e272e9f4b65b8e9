"""Measures the recall and the speed of an index against an exact search.

In: a dataset with an index. Out: recall and seconds, for queries that were not used to tune the index.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pipeline.curation.search.exact import SearchResult, search
from pipeline.curation.search.index.build import NEAREST, sample_queries
from pipeline.curation.search.index.files import IndexFacts, read_facts
from pipeline.curation.search.index.search import search_index
from pipeline.curation.search.sides import index_command
from pipeline.dataset.dataset import Dataset
from pipeline.errors import UsageError

_QUERIES = 256
#: Difference of float32 sums in another order. A row as similar as the last true hit counts as found.
_TIE = 1e-5


@dataclass(frozen=True, slots=True)
class IndexCheck:
    """The measurements of an index.

    Attributes:
        facts: the index.
        queries: how many, each for its `NEAREST` nearest rows.
        recall: share of these that the index found.
        exact_s, index_s: seconds for all queries; those of the index include loading it.
        rows, by_index: rows of the dataset, and those that the index covers.
    """

    facts: IndexFacts
    queries: int
    recall: float
    exact_s: float
    index_s: float
    rows: int
    by_index: int


def check(out: str, vector: str) -> IndexCheck:
    """Search with the index over `vector` and exactly, and compare.

    Raises:
        UsageError: there is no index, or it is too old to use.
        IdentityError, StorageError, RunError: something cannot be read.
    """
    dataset = Dataset.open(out)
    facts = read_facts(dataset.uri, vector)
    if facts is None:
        raise UsageError(f"{out} has no index over {vector}: run `{index_command(dataset, vector)}` first.")
    queries = sample_queries(dataset, vector, _QUERIES, seed=1)
    begun = time.perf_counter()
    found = search_index(out, queries, NEAREST, vector)
    index_s = time.perf_counter() - begun
    if found is None:
        cure = f"run `{index_command(dataset, vector)}`"
        raise UsageError(f"The index over {vector} of {out} is too old to use: {cure}.")
    begun = time.perf_counter()
    truth = search(out, queries, NEAREST, vector)
    exact_s = time.perf_counter() - begun
    return IndexCheck(facts, len(queries), _recall(found, truth), exact_s, index_s, found.rows, found.by_index)


def _recall(found: SearchResult, truth: SearchResult) -> float:
    right = total = 0
    for hits, true_hits in zip(found.hits, truth.hits, strict=True):
        least = true_hits[-1].similarity - _TIE
        right += sum(hit.similarity >= least for hit in hits)
        total += len(true_hits)
    return right / max(1, total)
