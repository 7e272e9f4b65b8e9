"""Searching with an index what it covers, and one by one what it does not.

In: a dataset with an index that may be older than it. Out: the same answer that a comparison with every row gives, as
far as the index finds it. Rows that came later are compared exactly, rows that are no longer current are passed over;
where that is much, the index does not pay and the note says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads

from pipeline import storage
from pipeline.curation.current_rows import CurrentRows
from pipeline.curation.search.exact import TIE, Answer, Nearest, search, text_columns
from pipeline.curation.search.index_files import IndexFacts, load, map_uri, read_facts, set_effort, state_of
from pipeline.curation.vectors import IMAGE, KEY, Vectors, matrix
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.outcomes import read_rows
from pipeline.errors import NotFoundError, RunError
from pipeline.scratch.workspace import Workspace

#: Hits beyond those asked for, so that rows that tie are all there to be put in order; and how far that is taken.
_SPARE, _MOST_WANTED = 32, 8192
#: More rows than this that are no longer current, or that came later, and comparing with every row is the better way.
_MOST_STALE, _MOST_LATER = 4096, 200_000


@dataclass(frozen=True, slots=True)
class _Gap:
    """How the dataset differs from the index: keys that are no longer current, rows that came later."""

    stale: frozenset[tuple[str, str]]
    later: list[tuple[pa.Table, Vectors]]


def find(out: str, queries: Vectors, top: int, vector: str = IMAGE, left_out: Sequence[str | None] = ()) -> Answer:
    """As `search.search`, with the index where there is one that is of use.

    Raises:
        UsageError: the dataset has no such vectors.
        IdentityError, StorageError, RunError: the dataset or the index cannot be read.
    """
    found = search_index(out, queries, top, vector, left_out)
    if found is not None:
        return found
    answer = search(out, queries, top, vector, left_out)
    if read_facts(Dataset.open(out).uri, vector) is None:
        return answer
    note = f"the index is of a state too long ago, so every row was compared: run `hanclip index {out}`"
    return replace(answer, notes=(note,))


def search_index(
    out: str, queries: Vectors, top: int, vector: str = IMAGE, left_out: Sequence[str | None] = ()
) -> Answer | None:
    """As `search.search`, with the index; None when there is none, or one that is too old to be of use.

    Raises:
        IdentityError, StorageError, RunError: the dataset or the index cannot be read.
    """
    dataset = Dataset.open(out)
    facts = read_facts(dataset.uri, vector)
    while facts is not None:
        try:
            return _search(dataset, facts, Nearest(queries, top, left_out), queries, top)
        except (NotFoundError, RunError):
            now = read_facts(dataset.uri, vector)
            if now == facts:
                raise
            facts = now  # Another index took its place meanwhile, and its files went.
    return None


def _search(dataset: Dataset, facts: IndexFacts, nearest: Nearest, queries: Vectors, top: int) -> Answer | None:
    gap = _Gap(frozenset(), []) if facts.state == state_of(dataset) else _gap(dataset, facts)
    if gap is None:
        return None
    similarities, at = _nearest(load(dataset.uri, facts), facts, queries, top + len(gap.stale) + 1)
    _offer(nearest, map_uri(dataset.uri, facts), similarities, at, gap.stale)
    for rows, vectors in gap.later:
        nearest.add(rows, vectors)
    notes = (f"{nearest.rows:,} rows came after the index: run `hanclip index {dataset.uri}`",) if nearest.rows else ()
    covered = facts.rows - len(gap.stale)
    return Answer(nearest.hits, covered + nearest.rows, covered, notes)


def _nearest(index: Any, facts: IndexFacts, queries: Vectors, needed: int) -> tuple[Vectors, Any]:
    """(Q, N) similarities and numbers of vectors: the `needed` nearest, and all that tie with the last of them."""
    wanted, effort = min(facts.rows, needed + _SPARE), facts.effort
    while True:
        effort = max(effort, wanted) if facts.kind == "hnsw" else effort
        set_effort(index, facts.kind, effort)
        similarities, at = index.search(queries, wanted)
        if wanted == facts.rows or wanted >= _MOST_WANTED + needed:
            tied = False
        else:
            tied = bool((similarities[:, needed - 1] - similarities[:, -1] <= TIE).any())
        short = bool((at < 0).any()) and effort < facts.lists
        if not (tied or short):
            return similarities, at
        wanted = min(facts.rows, 4 * wanted) if tied else wanted
        effort = min(facts.lists, 4 * effort) if short else effort


def _offer(nearest: Nearest, uri: str, similarities: Vectors, at: Any, stale: Collection[tuple[str, str]]) -> None:
    """Let what the index found compete; -1 stands for nothing found."""
    numbers = np.unique(at[at >= 0])
    rows = read_rows(uri, numbers)
    keys = list(zip(*(rows[name].to_pylist() for name in KEY), strict=True))
    good = np.array([key not in stale for key in keys], bool)
    for query, (found, values) in enumerate(zip(at, similarities, strict=True)):
        places = np.searchsorted(numbers, found[found >= 0])
        kept = good[places]
        nearest.offer(query, rows.take(pa.array(places[kept])), np.arange(kept.sum()), values[found >= 0][kept])


def _gap(dataset: Dataset, facts: IndexFacts) -> _Gap | None:
    """What the index lacks; None when that is too much."""
    filesystem, path = storage.arrow_filesystem(map_uri(dataset.uri, facts))
    with Workspace() as work:
        current = CurrentRows(dataset, work)
        try:
            work.register("indexed", pads.dataset(path, filesystem=filesystem))
        except OSError as error:
            raise RunError(f"The index cannot be read ({error}): run `hanclip index {dataset.uri}` again.") from error
        keys = ", ".join(KEY)
        stale = work.rows(f"SELECT {keys} FROM indexed ANTI JOIN rows USING ({keys}) LIMIT {_MOST_STALE + 1}")
        later = f"SELECT place FROM rows ANTI JOIN indexed USING ({keys})"
        [(rows_later,)] = work.rows(f"SELECT count(*) FROM ({later})")
        if len(stale) > min(_MOST_STALE, facts.rows // 2) or rows_later > _MOST_LATER:
            return None
        return _Gap(frozenset(stale), list(_with_vectors(current, dataset, facts.vector, later)))


def _with_vectors(current: CurrentRows, dataset: Dataset, vector: str, sql: str) -> Iterator[tuple[pa.Table, Vectors]]:
    columns = [*KEY, *text_columns(dataset)]
    for table in current.read([*columns, vector], sql):
        table = table.filter(table[vector].is_valid())
        yield table.select(columns), matrix(table[vector])
