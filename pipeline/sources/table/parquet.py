"""Reads Parquet files as tables. Row groups can be huge, so memory holds a few batches of rows, never a row group."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.errors import ContainerError
from pipeline.sources.cursor import CursorItem
from pipeline.sources.table.contract import TableRow
from pipeline.storage import ReadPolicy

_SCAN_ROWS = 8192
#: Cells may contain whole images as base64.
_SCAN_BYTES = 64 * 2**20
_READ_ROWS = 128
_COLUMN_BUFFER_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class ParquetRow:
    """One row of a batch."""

    batch: pa.RecordBatch
    place: int

    def values(self, wanted: pa.Schema) -> Mapping[str, Any]:
        """See `TableRow.values`."""
        held = self.batch.schema.names
        return {name: self.batch.column(name)[self.place].as_py() if name in held else None for name in wanted.names}


class ParquetTable:
    """See `TableFile`."""

    def __init__(self, uri: str, policy: ReadPolicy) -> None:
        source = uri if storage.is_local(uri) else storage.open_seekable(uri, policy)
        try:
            with storage.translated(uri):
                self._file = pq.ParquetFile(source, buffer_size=_COLUMN_BUFFER_BYTES)
        except pa.ArrowInvalid as error:
            raise ContainerError(f"{uri} is not a Parquet file. Repair or remove it.") from error
        self._uri = uri
        self.schema = pa.schema([(column.name, _plain(column.type)) for column in self._file.schema_arrow])
        groups = range(self._file.num_row_groups)
        self._starts = [0, *accumulate(self._file.metadata.row_group(group).num_rows for group in groups)]

    def scan(self, names: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
        """See `TableFile.scan`."""
        if not names:
            rows = self._starts[-1]
            yield from ({"": [None] * min(_SCAN_ROWS, rows - at)} for at in range(0, rows, _SCAN_ROWS))
            return
        try:
            row_bytes = sum(self.mean_bytes(name) or 0 for name in names)
            for batch in self._batches(0, names, max(1, min(_SCAN_ROWS, _SCAN_BYTES // max(1, row_bytes)))):
                yield {name: batch.column(name).to_pylist() for name in names}
        except UnicodeDecodeError as error:
            raise ContainerError(f"{self._uri} holds text that is not UTF-8: {error}. Repair it.") from error

    def rows(self, position: int, names: Sequence[str]) -> Iterator[CursorItem[TableRow]]:
        """See `TableFile.rows`."""
        group = bisect_right(self._starts, position) - 1
        start = self._starts[group]
        for batch in self._batches(group, names, _READ_ROWS):
            row_bytes = batch.nbytes // batch.num_rows
            for place in range(batch.num_rows):
                yield CursorItem(start + place, ParquetRow(batch, place), row_bytes)
            start += batch.num_rows

    def start_of(self, position: int) -> int:
        """The first row of the row group."""
        return int(self._starts[bisect_right(self._starts, position) - 1])

    def mean_bytes(self, name: str) -> int | None:
        """See `TableFile.mean_bytes`; taken from the footer."""
        total = 0
        for place in range(self._file.num_row_groups):
            group = self._file.metadata.row_group(place)
            chunks = (group.column(at) for at in range(group.num_columns))
            total += sum(
                chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] == name
            )
        return int(total // max(1, self._starts[-1]))

    def close(self) -> None:
        """Close the file."""
        self._file.close(force=True)

    def _batches(self, first_group: int, names: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        groups = list(range(first_group, self._file.num_row_groups))
        try:
            with storage.translated(self._uri):
                batches = self._file.iter_batches(batch_rows, row_groups=groups, columns=list(names), use_threads=False)
                yield from (batch for batch in batches if batch.num_rows)
        except pa.ArrowInvalid as error:
            raise ContainerError(f"{self._uri} is damaged. Repair or remove it.") from error


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of `kind`'s values after a round trip through Python: no dictionaries, no extension types."""
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    return kind.value_type if pa.types.is_dictionary(kind) else kind
