"""Reads CSV, TSV, JSON lines and arrays of JSON, plain or compressed, as tables. Column types come from all rows.

Blank lines are skipped. TSV is quoted like CSV, as Excel and pandas write it. In both an unclosed quote is an error and
an empty cell is null. If the header has no comma (in TSV: no tab), the delimiter is a semicolon or a tab, as Excel
writes it in many locales.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from pipeline import storage
from pipeline.errors import ContainerError
from pipeline.sources.containers.compression import STREAM_ERRORS, SUFFIXES, decompressed, find_codec
from pipeline.sources.cursor import CursorItem
from pipeline.sources.table.contract import Carrying, RowValues, TableRow
from pipeline.sources.table.csv_cells import cells_of, delimiter_of
from pipeline.sources.table.json_objects import objects_of
from pipeline.sources.table.lines import NotTextError, lines_of, pieces_of
from pipeline.sources.texts import encoding_of, without_surrogates
from pipeline.sources.values import Widening, fit_row, fit_text, json_object, outline
from pipeline.storage import ReadPolicy

_SCAN_ROWS = 8192
#: Cells may contain whole images as base64.
_SCAN_CHARACTERS = 32 * 2**20
_HEAD_ROWS = 1000
_SAMPLE_BYTES = 2**18
_HEAD_BYTES = 512
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a]")
_MARKUP = re.compile(rb"\s*<(?:!doctype|html|\?xml)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class JsonRow:
    """A line of JSON, parsed on demand."""

    line: str

    def values(self, roles: Iterable[str], carried: Carrying) -> RowValues:
        """See `TableRow.values`."""
        found = json_object(self.line)
        return RowValues({name: found.get(name) for name in roles}, fit_row(found, carried))


@dataclass(frozen=True, slots=True)
class CsvRow:
    """The cells of a CSV row under its header."""

    header: Sequence[str]
    cells: Sequence[str]

    def values(self, roles: Iterable[str], carried: Carrying) -> RowValues:
        """See `TableRow.values`."""
        found = dict(zip(self.header, self.cells, strict=False))
        extra = {column.name: fit_text(found.get(name, ""), column.type) for name, column in carried}
        return RowValues({name: found.get(name) or None for name in roles}, extra)


class TextTable:
    """See `TableFile`."""

    def __init__(self, uri: str, policy: ReadPolicy) -> None:
        self._uri, self._policy = uri, policy
        name = storage.name(uri).lower()
        self._name = name.rpartition(".")[0] if name.endswith(SUFFIXES) else name
        self._is_json = self._name.endswith((".json", ".jsonl", ".ndjson"))
        with storage.open_seekable(uri, policy) as file, self._readable():
            sample = decompressed(file, find_codec(file)).read(_SAMPLE_BYTES)
            _check(uri, sample, empty=not file.tell())
        text = sample.decode(encoding_of(sample), "replace")
        self._is_stream = self._is_json and (
            self._name.endswith(".json") or text.lstrip("\ufeff \t\r\n").startswith("[")
        )
        own = "\t" if self._name.endswith(".tsv") else ","
        self._delimiter = delimiter_of(text, own)
        self._widening = Widening()
        head = [outline(values) for values in _before_damage(self._parsed(islice(self._raw_rows(), _HEAD_ROWS)))]
        self.written = {column.name: _written(column, head) for column in self.schema}

    @property
    def schema(self) -> pa.Schema:
        """See `TableFile.schema`."""
        return self._widening.schema()

    def scan(self, names: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
        """See `TableFile.scan`."""
        batch: dict[str, list[Any]] = {name: [] for name in names or ("",)}
        rows = size = 0
        try:
            for row in self._parsed(self._raw_rows()):
                for name, values in batch.items():
                    value = row.get(name)
                    values.append(value)
                    size += len(value) if isinstance(value, str) else 0
                rows += 1
                if rows == _SCAN_ROWS or size >= _SCAN_CHARACTERS:
                    yield batch
                    batch, rows, size = {name: [] for name in batch}, 0, 0
        except ContainerError:
            if rows:
                yield batch
            raise
        if rows:
            yield batch

    def rows(self, position: int, names: Sequence[str]) -> Iterator[CursorItem[TableRow]]:
        """See `TableFile.rows`."""
        for place, row in enumerate(self._raw_rows()):
            row_bytes = len(row.line) if isinstance(row, JsonRow) else sum(map(len, row.cells))
            yield CursorItem(place, row, row_bytes)

    def start_of(self, position: int) -> int:
        """The first row: text can only be read from there."""
        return 0

    def mean_bytes(self, name: str) -> int | None:
        """None: text files have no statistics."""
        return None

    def close(self) -> None:
        """Nothing stays open."""

    def _parsed(self, rows: Iterable[JsonRow | CsvRow]) -> Iterator[Mapping[str, Any]]:
        """Rows as values; widens the column types on the way."""
        for place, row in enumerate(rows):
            if isinstance(row, CsvRow):
                self._widening.see_texts(row.header, row.cells)
                yield {name: cell or None for name, cell in zip(row.header, row.cells, strict=False)}
                continue
            try:
                values = json_object(row.line)
            except ValueError as error:
                raise ContainerError(f"Row {place} of {self._uri} is invalid: {error}. Correct it.") from error
            self._widening.see(values)
            yield {name: without_surrogates(value) for name, value in values.items()}

    def _raw_rows(self) -> Iterator[JsonRow | CsvRow]:
        with storage.open_seekable(self._uri, self._policy) as file, self._readable():
            stream = decompressed(file, find_codec(file))
            if self._is_stream:
                yield from map(JsonRow, objects_of(pieces_of(stream), self._uri))
                return
            text = lines_of(pieces_of(stream))
            if self._is_json:
                yield from (JsonRow(line) for line in text if line.strip())
                return
            rows = cells_of(text, self._delimiter, self._uri)
            header = _header(next(rows, []), self._uri)
            self._widening.see_texts(header, [""] * len(header))
            yield from (CsvRow(header, cells) for cells in rows)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno is not None:  # the disk's, which says nothing about the file
                with storage.translated(self._uri):
                    raise
            raise ContainerError(f"{self._uri} is damaged: {error}. Repair or remove it.") from error
        except NotTextError as error:
            raise ContainerError(f"{self._uri} is damaged or mixes encodings: {error}. Convert it to UTF-8.") from error
        except STREAM_ERRORS as error:
            raise ContainerError(f"{self._uri} is damaged: {error}. Repair or remove it.") from error


def _before_damage(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows before damage, which the scan meets again; without any the file is unreadable, and the error raised."""
    seen = False
    try:
        for row in rows:
            seen = True
            yield row
    except ContainerError:
        if not seen:
            raise


def _check(uri: str, sample: bytes, empty: bool) -> None:
    """Raise a ContainerError for a file that is empty or starts like no table."""
    if empty:
        raise ContainerError(f"{uri} is empty (0 bytes). Write it again, or remove it.")
    if encoding_of(sample[:4]) == "utf-16":
        return
    if b"\0" in sample[:_HEAD_BYTES] or _CONTROL.search(sample.partition(b"\n")[0]):
        raise ContainerError(f"{uri} holds bytes that are not text in UTF-8. Repair, convert or remove it.")
    if _MARKUP.match(sample):
        raise ContainerError(f"{uri} holds HTML or XML instead of a table. Fetch it again, or remove it.")


def _header(cells: Sequence[str], uri: str) -> list[str]:
    """The names of columns, as written; one without a name is called by its number, like pandas' index.

    Raises:
        ContainerError: two have the same name.
    """
    names = [cell if cell.strip() else f"unnamed_{number}" for number, cell in enumerate(cells)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ContainerError(f"{uri} has several columns called {', '.join(twice)}. Rename them in its header.")
    return names


def _written(column: pa.Field, rows: Sequence[Mapping[str, Any]]) -> pa.DataType:
    """The type of a column as written: that of its nested values, if it has no others."""
    if not pa.types.is_string(column.type):
        return column.type
    try:
        kind = pa.infer_type([row.get(column.name) for row in rows])
    except (pa.ArrowException, TypeError, OverflowError):  # a mixture
        return column.type
    return kind if pa.types.is_nested(kind) else column.type
