"""Finds the rows of a dataset that are most similar to a query, by streaming over all of them in bounded memory.

In: a dataset and query vectors of norm 1. Out: the nearest rows of each query, most similar first. Rows of equal
similarity are ordered by id, so the result does not depend on how rows are stored. Similarities are compared to six
decimals, since float32 sums differ beyond that when computed in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.curation.current_rows import CurrentRows
from pipeline.curation.vectors import IMAGE, KEY, Vectors, matrix, require_vectors, vector_blocks
from pipeline.dataset.dataset import Dataset
from pipeline.errors import UsageError
from pipeline.scratch.workspace import Workspace

#: Similarities are rounded to this many decimals.
DECIMALS = 6
#: Similarities that differ by less may be equal once rounded.
TIE = 2 * 10.0**-DECIMALS


class NoSuchRowError(UsageError):
    """A query names the row `id`, which the dataset does not have, or not with such a vector."""

    def __init__(self, message: str, id_: str) -> None:
        super().__init__(message)
        self.id = id_


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found.

    Attributes:
        id, source_fingerprint: key of the row.
        similarity: cosine to the query.
        text: the row's caption, None if it has none.
        group: its group of duplicates; None if it has none, or if results were not grouped.
        group_size: rows of that group; 1 without one.
    """

    id: str
    source_fingerprint: str
    similarity: float
    text: str | None
    group: str | None = None
    group_size: int = 1


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of a search.

    Attributes:
        hits: one list per query, most similar first.
        rows: rows that were searched.
        by_index: how many of them through an index; the others were compared one by one.
        notes: messages about the index for the user.
    """

    hits: list[list[Hit]]
    rows: int
    by_index: int = 0
    notes: tuple[str, ...] = ()


#: Compares queries with rows: (queries, top, ids to leave out for each) -> the nearest rows.
SearchRows = Callable[[Vectors, int, Sequence[Collection[str]]], SearchResult]


class TopHits:
    """The `top` nearest rows of each of Q queries, among all rows added so far.

    Attributes:
        needed: for each query, how many of the nearest rows hold them, whichever are left out.
    """

    def __init__(self, queries: Vectors, top: int, exclude: Sequence[Collection[str]] = ()) -> None:
        self._queries, self._top = queries, top
        self._exclude = tuple(exclude) or ((),) * len(queries)
        self.needed = [top + len(ids) for ids in self._exclude]
        self.hits: list[list[Hit]] = [[] for _ in queries]
        self.rows = 0

    def add(self, rows: pa.Table, vectors: Vectors) -> None:
        """Compare B rows (`KEY`, optionally `text`) and their (B, D) vectors with every query."""
        self.rows += len(vectors)
        for number, similarities in enumerate(self._queries @ vectors.T):
            self.merge(number, rows, top_positions(similarities, self.needed[number]), similarities)

    def merge(
        self, query: int, rows: pa.Table, positions: npt.NDArray[np.intp], similarities: npt.NDArray[np.float32]
    ) -> None:
        """Merge the rows at `positions` into the hits of one query."""
        chosen = rows.take(pa.array(positions)).to_pylist()
        found = [_hit(row, value) for row, value in zip(chosen, similarities[positions].tolist(), strict=True)]
        merged = [*self.hits[query], *(hit for hit in found if hit.id not in self._exclude[query])]
        self.hits[query] = sorted(merged, key=lambda hit: (-hit.similarity, hit.id))[: self._top]


def _hit(row: dict[str, str | None], similarity: float) -> Hit:
    return Hit(str(row["id"]), str(row["source_fingerprint"]), round(similarity, DECIMALS), row.get("text"))


def top_positions(similarities: npt.NDArray[np.float32], top: int) -> npt.NDArray[np.intp]:
    """Positions of the `top` largest values, and of all that may tie with the smallest of them."""
    if len(similarities) <= top:
        return np.arange(len(similarities))
    least = np.partition(similarities, -top)[-top]
    return np.flatnonzero(similarities >= least - TIE)


def search(
    out: str, queries: Vectors, top: int, vector: str = IMAGE, exclude: Sequence[Collection[str]] = ()
) -> SearchResult:
    """Compare every row of the dataset at `out` with the (Q, D) `queries`.

    Args:
        out: the dataset.
        queries: unit vectors.
        top: how many rows to find per query.
        vector: column to search.
        exclude: for each query the ids to leave out, such as those of the rows that it is made of.

    Raises:
        UsageError: the dataset has no such vectors.
        IdentityError, StorageError, RunError: there is no dataset, or it cannot be read.
    """
    hits = TopHits(queries, top, exclude)
    for block in vector_blocks(out, vector, text_columns(Dataset.open(out))):
        hits.add(block.rows, block.vectors)
    return SearchResult(hits.hits, hits.rows)


def search_selected(
    dataset: Dataset,
    keys: str,
    vector: str,
    queries: Vectors,
    top: int,
    exclude: Sequence[Collection[str]] = (),
) -> SearchResult:
    """Compare the current rows whose keys are in the local Parquet file `keys`; otherwise like `search`."""
    hits, columns = TopHits(queries, top, exclude), [*KEY, *text_columns(dataset)]
    with Workspace() as work:
        current = CurrentRows(dataset, work)
        work.view("selected", keys)
        sql = f"SELECT place FROM rows SEMI JOIN selected USING ({', '.join(KEY)})"
        for table in current.read([*columns, vector], sql):
            table = table.filter(table[vector].is_valid())
            hits.add(table.select(columns), matrix(table[vector]))
    return SearchResult(hits.hits, hits.rows)


def vectors_of(out: str, ids: Sequence[str], vector: str = IMAGE) -> Vectors:
    """The (N, D) stored vectors of the rows `ids`, in that order. Raises NoSuchRowError."""
    dataset = Dataset.open(out)
    require_vectors(dataset, vector)
    with Workspace() as work:
        current = CurrentRows(dataset, work, ids)
        return in_order(current.read(["id", vector], current.named(ids)), ids, vector, out)


def in_order(tables: Iterable[pa.Table], ids: Sequence[str], vector: str, out: str) -> Vectors:
    """The (N, D) vectors of the rows `ids`, in that order; `tables` have the rows. Raises NoSuchRowError."""
    found: dict[str, Vectors] = {}
    for table in tables:
        table = table.filter(table[vector].is_valid())
        found |= dict(zip(table["id"].to_pylist(), matrix(table[vector]), strict=True))
    missing = [id_ for id_ in ids if id_ not in found]
    if missing:
        raise NoSuchRowError(f"{out} has no current row {missing[0]!r} with {vector}: check the id.", missing[0])
    return np.stack([found[id_] for id_ in ids])


def text_columns(dataset: Dataset) -> tuple[str, ...]:
    """The columns of a hit besides its key."""
    return ("text",) if dataset.identity.has_texts else ()
