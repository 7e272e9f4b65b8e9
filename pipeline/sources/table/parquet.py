"""Reads Parquet files as tables. Row groups can be huge, so memory holds a few batches of rows, never a row group."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.errors import ContainerError
from pipeline.sources.cursor import CursorItem
from pipeline.sources.extra import ArrowRow
from pipeline.sources.table.contract import Carrying, RowValues, TableRow
from pipeline.storage import ReadPolicy

_SCAN_ROWS = 8192
#: Cells may contain whole images as base64.
_SCAN_BYTES = 64 * 2**20
_READ_ROWS = 128
_COLUMN_BUFFER_BYTES = 2**20
_TAIL_BYTES = 2**16


class _Block:
    """Some rows, whose carried columns are cast once for all of them."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        self._extra: pa.RecordBatch | None = None
        self._unfit = False

    def extra(self, place: int, carried: Carrying) -> ArrowRow:
        """The carried columns of one row; ValueError if a value is unfit."""
        if self._extra is None and not self._unfit:
            try:
                self._extra = _conformed(self.batch, carried)
            except pa.ArrowException:
                self._unfit = True
        if self._extra is not None:
            return ArrowRow(self._extra, place)
        try:
            return ArrowRow(_conformed(self.batch.slice(place, 1), carried), 0)
        except pa.ArrowException as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True, slots=True)
class ParquetRow:
    """One row of a block."""

    block: _Block
    place: int

    def values(self, roles: Iterable[str], carried: Carrying) -> RowValues:
        """See `TableRow.values`."""
        batch = self.block.batch
        held = batch.schema.names
        cells = {name: _value(batch.column(name)[self.place]) if name in held else None for name in roles}
        return RowValues(cells, self.block.extra(self.place, carried))


class ParquetTable:
    """See `TableFile`."""

    def __init__(self, uri: str, policy: ReadPolicy) -> None:
        opened = storage.open_seekable(uri, policy)
        with storage.translated(uri):
            tail = _tail(opened)
        source = uri if storage.is_local(uri) else opened
        if source is uri:
            opened.close()
        if tail.endswith(b"PARE"):
            raise ContainerError(f"{uri} is encrypted. Decrypt it, or remove it.")
        with storage.translated(uri), _readable(uri):
            try:
                self._file = pq.ParquetFile(source, buffer_size=_COLUMN_BUFFER_BYTES)
            except pa.ArrowInvalid as error:
                raise ContainerError(f"{uri} is not a Parquet file. Repair or remove it.") from error
        if int.from_bytes(tail[-8:-4], "little") != self._file.metadata.serialized_size:
            # The footer is signed. Asking for such a column's metadata would end the process.
            raise ContainerError(f"{uri} has encrypted columns. Decrypt them, or remove it.")
        self._uri = uri
        with _readable(uri):
            columns = self._file.schema_arrow
            if twice := sorted({name for name in columns.names if columns.names.count(name) > 1}):
                raise ContainerError(f"{uri} has several columns called {', '.join(twice)}. Rename them.")
            self.schema = pa.schema([(column.name, _plain(column.type)) for column in columns])
        self.written: Mapping[str, pa.DataType] = {column.name: column.type for column in self.schema}
        groups = range(self._file.num_row_groups)
        self._starts = [0, *accumulate(self._file.metadata.row_group(group).num_rows for group in groups)]

    def scan(self, names: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
        """See `TableFile.scan`."""
        if not names:
            rows = self._starts[-1]
            yield from ({"": [None] * min(_SCAN_ROWS, rows - at)} for at in range(0, rows, _SCAN_ROWS))
            return
        row_bytes = sum(self.mean_bytes(name) or 0 for name in names)
        groups = range(self._file.num_row_groups)
        for batch in self._batches(groups, names, max(1, min(_SCAN_ROWS, _SCAN_BYTES // max(1, row_bytes)))):
            yield {name: _values(batch.column(name)) for name in names}

    def rows(self, position: int, names: Sequence[str]) -> Iterator[CursorItem[TableRow]]:
        """See `TableFile.rows`."""
        group = bisect_right(self._starts, position) - 1
        start = self._starts[group]
        for one in range(group, self._file.num_row_groups):  # a batch of two groups is lost if one is damaged
            for batch in self._batches([one], names, _READ_ROWS):
                block, row_bytes = _Block(batch), batch.nbytes // batch.num_rows
                for place in range(batch.num_rows):
                    yield CursorItem(start + place, ParquetRow(block, place), row_bytes)
                start += batch.num_rows

    def start_of(self, position: int) -> int:
        """The first row of the row group."""
        return int(self._starts[bisect_right(self._starts, position) - 1])

    def mean_bytes(self, name: str) -> int | None:
        """See `TableFile.mean_bytes`; taken from the footer."""
        total = 0
        with _readable(self._uri):
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

    def _batches(self, groups: Sequence[int], names: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        columns = list(names)
        with storage.translated(self._uri), _readable(self._uri):
            batches = self._file.iter_batches(batch_rows, row_groups=list(groups), columns=columns, use_threads=False)
            yield from (batch for batch in batches if batch.num_rows)


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    """Raise what Arrow finds wrong with a file as a ContainerError."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ContainerError(
            f"{uri} is damaged, or holds what Arrow cannot read: {error}. Repair or remove it."
        ) from error


def _tail(file: BinaryIO) -> bytes:
    """The end of a file, as much as Arrow reads of it at first, so that it stays in the file's buffer."""
    file.seek(max(0, file.seek(0, io.SEEK_END) - _TAIL_BYTES))
    return file.read()


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type in which values of `kind` are carried: no dictionaries, no extension types."""
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _conformed(batch: pa.RecordBatch, carried: Carrying) -> pa.RecordBatch:
    """The carried columns of a batch in the types and under the names of the output."""
    held = batch.schema.names
    columns = [
        _cast(batch.column(name), column.type) if name in held else pa.nulls(batch.num_rows, column.type)
        for name, column in carried
    ]
    return pa.record_batch(columns, schema=pa.schema([column for _, column in carried]))


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    while isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    # A number too long for a fraction loses digits there, as in Python.
    return column.cast(kind, safe=not pa.types.is_floating(kind)) if column.type != kind else column


def _values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    """The Python value: text that is not UTF-8 with surrogates, a point in time that Python does not have as text."""
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return _escaped(scalar)
    except (ValueError, OverflowError):
        return scalar.cast(pa.string()).as_py()


def _escaped(scalar: pa.Scalar) -> Any:
    if isinstance(scalar, pa.DictionaryScalar):
        return _escaped(scalar.value)
    if isinstance(scalar, pa.ListScalar):
        return None if scalar.values is None else [_value(one) for one in scalar.values]
    if isinstance(scalar, pa.StructScalar):
        return {name: _value(one) for name, one in scalar.items()}
    return scalar.as_buffer().to_pybytes().decode("utf-8", "surrogateescape")
