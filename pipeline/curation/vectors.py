"""Reads the vectors of a dataset as NumPy blocks.

In: a dataset and the name of a vector column. Out: blocks of its latest rows and their vectors, in the same order on
every run, in bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import find_latest
from pipeline.errors import UsageError

Vectors = npt.NDArray[np.float32]

#: The columns that identify a state of a record; every table derived from a dataset begins with them.
KEY = ("id", "source_fingerprint")
IMAGE, TEXT = "image_embedding", "text_embedding"
_BLOCK_ROWS = 65536


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a dataset.

    Attributes:
        rows: B rows: `id`, `source_fingerprint`, then the requested columns.
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
    """The latest rows of a dataset, not read yet.

    Attributes:
        total: how many there are, including those without a vector.
    """

    def __init__(self, out: str, vector: str = IMAGE, columns: Sequence[str] = ()) -> None:
        """Find the rows. Raises the errors of `vector_blocks`."""
        require_vectors(Dataset.open(out), vector)
        self._vector, self._columns = vector, list(dict.fromkeys([*KEY, *columns]))
        found = find_latest(out, list(dict.fromkeys([*self._columns, vector])))
        self.total, self._reader = found.rows, found.reader

    def blocks(self, rows: int = _BLOCK_ROWS) -> Iterator[Block]:
        """Read those that have a vector. Call only once."""
        for table in rebatched(_with_vector(self._reader, self._vector), rows):
            yield Block(table.select(self._columns), matrix(table[self._vector]))


def require_vectors(dataset: Dataset, *vectors: str) -> None:
    """Raise UsageError if the dataset lacks one of these vector columns."""
    missing = [name for name in vectors if name not in dataset.identity.vector_columns]
    if missing:
        kind = "texts" if TEXT in missing else "images"
        raise UsageError(
            f"The dataset at {dataset.uri} has no {' and no '.join(missing)}: its records had no {kind}. Embed "
            f"records that have {kind} to another OUT; of Chinese-CLIP data, those of --records pairs have both."
        )


def matrix(column: pa.ChunkedArray | pa.Array) -> Vectors:
    """Convert a fixed-size list column of float32 or float16 without nulls to (B, D) float32."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    dim = column.type.list_size
    parts = [chunk.flatten().to_numpy(zero_copy_only=True).reshape(-1, dim) for chunk in chunks]
    return np.concatenate(parts or [np.empty((0, dim))]).astype(np.float32, copy=False)


def rebatched(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Tables of exactly `rows` rows, except for the last; files may hold only a few rows each."""
    pending, count = [], 0
    for batch in batches:
        pending.append(batch)
        count += batch.num_rows
        while count >= rows:
            table = pa.Table.from_batches(pending)
            yield table.slice(0, rows)
            pending, count = table.slice(rows).to_batches(), count - rows
    if count:
        yield pa.Table.from_batches(pending)


def _with_vector(batches: Iterable[pa.RecordBatch], vector: str) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.filter(batch[vector].is_valid()) if batch[vector].null_count else batch
