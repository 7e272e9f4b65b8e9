"""The vectors of a dataset as NumPy blocks: what every measure over embeddings starts from.

In: a dataset and the name of a vector column. Out: blocks of its latest rows, each row beside its vector, in an order
that is the same every time. A dataset of any size passes through in bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import find_latest
from pipeline.errors import UsageError

Vectors = npt.NDArray[np.float32]

#: What names the state of a record; every table that is made of a dataset has them first.
KEY = ("id", "source_fingerprint")
IMAGE, TEXT = "image_embedding", "text_embedding"
_BLOCK_ROWS = 65536


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a dataset.

    Attributes:
        rows: B rows: `id`, `source_fingerprint`, then the columns asked for.
        vectors: (B, D) float32, of norm 1 up to rounding, in the same order.
    """

    rows: pa.Table
    vectors: Vectors

    @property
    def ids(self) -> list[str]:
        """The B ids."""
        ids: list[str] = self.rows["id"].to_pylist()
        return ids


def vector_blocks(
    out: str, vector: str = IMAGE, columns: Sequence[str] = (), rows: int = _BLOCK_ROWS
) -> Iterator[Block]:
    """The latest rows of the dataset at `out` that have a `vector`, `rows` at a time; the last block may be shorter.

    Raises:
        UsageError: the dataset has no such vectors.
        IdentityError: there is no dataset.
        StorageError, RunError: it cannot be read.
    """
    yield from VectorRows(out, vector, columns).blocks(rows)


class VectorRows:
    """The latest rows of a dataset, found and not read yet.

    Attributes:
        total: how many there are, with a vector and without.
    """

    def __init__(self, out: str, vector: str = IMAGE, columns: Sequence[str] = ()) -> None:
        """Find them; raises what `vector_blocks` does."""
        require_vectors(Dataset.open(out), vector)
        self._vector, self._columns = vector, list(dict.fromkeys([*KEY, *columns]))
        found = find_latest(out, list(dict.fromkeys([*self._columns, vector])))
        self.total, self._reader = found.rows, found.reader

    def blocks(self, rows: int = _BLOCK_ROWS) -> Iterator[Block]:
        """Those that have a vector, once."""
        for table in _in_blocks(self._reader, self._vector, rows):
            yield Block(table.select(self._columns), matrix(table[self._vector]))


def require_vectors(dataset: Dataset, *vectors: str) -> None:
    """Refuse a dataset that lacks a vector column. Raises UsageError."""
    missing = [name for name in vectors if name not in dataset.identity.vector_columns]
    if missing:
        kind = "texts" if TEXT in missing else "images"
        raise UsageError(
            f"The dataset at {dataset.uri} has no {' and no '.join(missing)}: its source had no {kind}. "
            f"Embed a source that has {kind} to another OUT."
        )


def matrix(column: pa.ChunkedArray | pa.Array) -> Vectors:
    """A fixed-size list column of float32 or float16 without nulls as (B, D) float32."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    dim = column.type.list_size
    parts = [chunk.flatten().to_numpy(zero_copy_only=True).reshape(-1, dim) for chunk in chunks]
    return np.concatenate(parts or [np.empty((0, dim))]).astype(np.float32, copy=False)


def _in_blocks(reader: pa.RecordBatchReader, vector: str, rows: int) -> Iterator[pa.Table]:
    """Rows with a vector, cut anew: files may hold few rows each."""
    held, count = [], 0
    for batch in reader:
        some = batch.filter(batch[vector].is_valid()) if batch[vector].null_count else batch
        held.append(some)
        count += some.num_rows
        while count >= rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, rows)
            held, count = table.slice(rows).to_batches(), count - rows
    if count:
        yield pa.Table.from_batches(held)
