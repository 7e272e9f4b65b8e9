"""Which rows of a dataset are most like a query: exact, streamed, in bounded memory.

In: a dataset and query vectors of norm 1. Out: for each query its nearest rows, the most similar first. Rows of equal
similarity (to six decimals, which is what float32 arithmetic in another order keeps) follow by id, so the answer is the
same however the rows are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.curation.current_rows import CurrentRows
from pipeline.curation.vectors import IMAGE, TEXT, Block, Vectors, matrix, require_vectors, vector_blocks
from pipeline.dataset.dataset import Dataset
from pipeline.errors import UsageError
from pipeline.scratch.workspace import Workspace

#: What can be searched, by the word that a user types.
SEARCHED = {"images": IMAGE, "texts": TEXT}

#: Decimals in which similarities are told and compared.
DECIMALS = 6
#: What differs by less may tie once it is rounded.
TIE = 2 * 10.0**-DECIMALS


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found.

    Attributes:
        id, source_fingerprint: which.
        similarity: cosine to the query.
        text: the row's caption, None where it has none.
    """

    id: str
    source_fingerprint: str
    similarity: float
    text: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search came to.

    Attributes:
        hits: one list for each query, the most similar first.
        rows: rows that were searched.
        by_index: how many of them an index answered for; the others were compared one by one.
        notes: what to know about the index.
    """

    hits: list[list[Hit]]
    rows: int
    by_index: int = 0
    notes: tuple[str, ...] = ()


class Nearest:
    """The `top` nearest rows to each of Q queries, among all that were added."""

    def __init__(self, queries: Vectors, top: int, left_out: Sequence[str | None] = ()) -> None:
        self._queries, self._top = queries, top
        self._left_out = tuple(left_out) or (None,) * len(queries)
        self.hits: list[list[Hit]] = [[] for _ in queries]
        self.rows = 0

    def add(self, rows: pa.Table, vectors: Vectors) -> None:
        """Compare B rows (`KEY`, perhaps `text`) and their (B, D) vectors with every query."""
        self.rows += len(vectors)
        for number, similarities in enumerate(self._queries @ vectors.T):
            self.offer(number, rows, candidates(similarities, self._top + 1), similarities)

    def offer(
        self, query: int, rows: pa.Table, at: npt.NDArray[np.intp], similarities: npt.NDArray[np.float32]
    ) -> None:
        """Let the rows `at` compete for a place among the hits of one query."""
        picked = rows.take(pa.array(at)).to_pylist()
        found = [_hit(row, value) for row, value in zip(picked, similarities[at].tolist(), strict=True)]
        kept = [*self.hits[query], *(hit for hit in found if hit.id != self._left_out[query])]
        self.hits[query] = sorted(kept, key=lambda hit: (-hit.similarity, hit.id))[: self._top]


def _hit(row: dict[str, str | None], similarity: float) -> Hit:
    return Hit(str(row["id"]), str(row["source_fingerprint"]), round(similarity, DECIMALS), row.get("text"))


def candidates(similarities: npt.NDArray[np.float32], top: int) -> npt.NDArray[np.intp]:
    """Positions of the `top` largest values, and of all that tie with the last of them."""
    if len(similarities) <= top:
        return np.arange(len(similarities))
    least = np.partition(similarities, -top)[-top]
    return np.flatnonzero(similarities >= least - TIE)


def search(out: str, queries: Vectors, top: int, vector: str = IMAGE, left_out: Sequence[str | None] = ()) -> Answer:
    """The `top` rows of the dataset at `out` nearest to each of the (Q, D) `queries`, compared one by one.

    Args:
        out: the dataset.
        queries: unit vectors.
        top: how many rows a query gets.
        vector: column that is searched.
        left_out: for each query an id that is not wanted, such as the one it asks about.

    Raises:
        UsageError: the dataset has no such vectors.
        IdentityError, StorageError, RunError: it is not there, or cannot be read.
    """
    return exact(vector_blocks(out, vector, text_columns(Dataset.open(out))), queries, top, left_out)


def exact(blocks: Iterable[Block], queries: Vectors, top: int, left_out: Sequence[str | None] = ()) -> Answer:
    """The same over blocks that are at hand."""
    nearest = Nearest(queries, top, left_out)
    for block in blocks:
        nearest.add(block.rows, block.vectors)
    return Answer(nearest.hits, nearest.rows)


def vectors_of(out: str, ids: Sequence[str], vector: str = IMAGE) -> Vectors:
    """The (N, D) stored vectors of the rows `ids`, in that order. Raises UsageError for an id that has none."""
    dataset = Dataset.open(out)
    require_vectors(dataset, vector)
    with Workspace() as work:
        current = CurrentRows(dataset, work)
        found: dict[str, Vectors] = {}
        for table in current.read(["id", vector], current.named(ids)):
            table = table.filter(table[vector].is_valid())
            found |= dict(zip(table["id"].to_pylist(), matrix(table[vector]), strict=True))
    missing = [id_ for id_ in ids if id_ not in found]
    if missing:
        raise UsageError(f"{out} has no current row {missing[0]!r} with {vector}: check the id.")
    return np.stack([found[id_] for id_ in ids])


def text_columns(dataset: Dataset) -> tuple[str, ...]:
    """What a hit shows beside its id."""
    return ("text",) if dataset.identity.has_texts else ()
