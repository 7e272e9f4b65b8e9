"""A dataset's latest rows in parts of a fixed number of rows, for formats that keep vectors and ids in several files.

Parts are numbered from 0 and the same every time. Rows that lack a chosen vector are left out and counted: no consumer
takes null vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import storage
from pipeline.curation.export.registry import Request
from pipeline.curation.vectors import IMAGE, TEXT, require_vectors
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import latest
from pipeline.errors import UsageError

_GROUP_BYTES = 32 * 2**20


class Parts:
    """Iterate once; `left_out` is complete then.

    Attributes:
        vectors: names of the vector columns.
        dim: length of a vector.
        schema: columns of each part: `id`, the others that were chosen, the vectors.

    Raises:
        UsageError: a column or a vector that was chosen is not there.
    """

    def __init__(self, request: Request) -> None:
        dataset = Dataset.open(request.out)
        self._request = request
        self.vectors, self.dim = _vectors(dataset, request), dataset.identity.dim
        held = dataset.identity.schema
        others = [name for name in held.names if name not in dataset.identity.vector_columns]
        wanted = others if request.options.columns is None else list(request.options.columns)
        if unknown := sorted(set(wanted) - set(others)):
            raise UsageError(
                f"{dataset.uri} has no column {', '.join(unknown)}; it has {', '.join(others)}. Correct --column."
            )
        names = list(dict.fromkeys(["id", *wanted, *self.vectors]))
        self.schema = pa.schema([held.field(name) for name in names])
        self.rows = self.left_out = 0

    @property
    def others(self) -> list[str]:
        """Columns that are no vectors, `id` first."""
        return [name for name in self.schema.names if name not in self.vectors]

    @property
    def group_rows(self) -> int:
        """Rows of about 32 MB of vectors: readers take a row group at once."""
        return max(1, _GROUP_BYTES // (4 * self.dim * len(self.vectors)))

    def __iter__(self) -> Iterator[pa.Table]:
        size = self._request.options.rows_per_file
        held, rows = [], 0
        for batch in self.batches():
            held.append(batch)
            rows += batch.num_rows
            while rows >= size:
                table = pa.Table.from_batches(held, self.schema)
                yield table.slice(0, size)
                held, rows = table.slice(size).to_batches(), rows - size
        if rows:
            yield pa.Table.from_batches(held, self.schema)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The same rows as they come."""
        for batch in latest(self._request.out, self.schema.names):
            kept = batch.select(self.schema.names)
            for name in self.vectors:
                kept = kept.filter(pc.is_valid(kept[name])) if kept[name].null_count else kept
            self.rows += kept.num_rows
            self.left_out += batch.num_rows - kept.num_rows
            self._request.on_rows(batch.num_rows)
            yield kept


def _vectors(dataset: Dataset, request: Request) -> tuple[str, ...]:
    first = dataset.identity.vector_columns[:1]
    chosen = {"image": (IMAGE,), "text": (TEXT,), "both": (IMAGE, TEXT)}.get(request.options.vectors or "", first)
    require_vectors(dataset, *chosen)
    return chosen


def drop_parts(uri_of: Callable[[int], str], parts: int) -> None:
    """Delete parts behind the last one, which an earlier and larger export left; the last first, so none is missed."""
    found = []
    for number in count(parts):
        if not storage.exists(uri := uri_of(number)):
            break
        found.append(uri)
    for uri in reversed(found):
        storage.delete(uri)
