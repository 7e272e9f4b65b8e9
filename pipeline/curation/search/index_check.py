"""What an index finds of the truth, and how much sooner: measured through the same doors as every search.

In: a dataset with an index. Out: recall and seconds, for queries that its making did not look at.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pipeline.curation.search.exact import Answer, search
from pipeline.curation.search.index import NEAREST, sample_queries
from pipeline.curation.search.index_files import IndexFacts, read_facts
from pipeline.curation.search.with_index import search_index
from pipeline.dataset.dataset import Dataset
from pipeline.errors import UsageError

_QUERIES = 256
#: What float32 sums in another order differ by; a row that is as near as the last true one is as right.
_TIE = 1e-5


@dataclass(frozen=True, slots=True)
class Check:
    """How an index does.

    Attributes:
        facts: which index.
        queries: how many were asked, for the `NEAREST` nearest rows each.
        recall: share of these that the index found.
        exact_s, index_s: seconds that all queries took; the index's include loading it.
        rows, by_index: rows that are there, and those that the index covers.
    """

    facts: IndexFacts
    queries: int
    recall: float
    exact_s: float
    index_s: float
    rows: int
    by_index: int


def check(out: str, vector: str) -> Check:
    """Ask the index over `vector` and compare with every row.

    Raises:
        UsageError: there is no index, or it is too old to be used.
        IdentityError, StorageError, RunError: something cannot be read.
    """
    dataset = Dataset.open(out)
    facts = read_facts(dataset.uri, vector)
    if facts is None:
        raise UsageError(f"{out} has no index over {vector}: run `hanclip index {out}` first.")
    queries = sample_queries(dataset, vector, _QUERIES, skipped=1)
    begun = time.perf_counter()
    found = search_index(out, queries, NEAREST, vector)
    index_s = time.perf_counter() - begun
    if found is None:
        raise UsageError(f"The index over {vector} of {out} is too old to be used: run `hanclip index {out}`.")
    begun = time.perf_counter()
    truth = search(out, queries, NEAREST, vector)
    exact_s = time.perf_counter() - begun
    return Check(facts, len(queries), _recall(found, truth), exact_s, index_s, found.rows, found.by_index)


def _recall(found: Answer, truth: Answer) -> float:
    right = total = 0
    for hits, true_hits in zip(found.hits, truth.hits, strict=True):
        least = true_hits[-1].similarity - _TIE
        right += sum(hit.similarity >= least for hit in hits)
        total += len(true_hits)
    return right / max(1, total)
