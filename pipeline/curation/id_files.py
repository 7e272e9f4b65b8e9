"""Reads files of ids: one in each line, or several that belong together, such as a pair.

In: the address of a file, and the columns that it must have: Parquet or CSV with these columns, named in any case, or
lines without names. Out: a table of these columns, as text. CSV may have commas, tabs or semicolons. Ids that the
dataset lacks are allowed, since the file may be older than its rows; that it has none of them at all is a mistake, for
which there is an error or a note.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.errors import ConfigError
from pipeline.sources.texts import decode_text

#: The names of a file's columns are among its first characters; a longer field is an error of the reader.
_HEAD_CHARACTERS = 100_000
_DELIMITERS = ",\t;"
_LINE_END = re.compile(r"\r\n|\n|\r")  # `splitlines` knows others, which an id may hold


@dataclass(frozen=True, slots=True)
class IdFile:
    """A file of ids.

    Attributes:
        option: the option that names it.
        uri: its address.
        columns: its columns. With one, a file without names is read by lines: an id may hold a comma.
        cure: what to give instead of a file that cannot be read.
    """

    option: str
    uri: str
    columns: tuple[str, ...]
    cure: str

    def read(self) -> pa.Table:
        """The columns, without rows that lack one. Raises ConfigError, StorageError."""
        data = storage.read_bytes(storage.normalise(self.uri))
        found = self._parquet(data) if data[:4] == b"PAR1" else self._text(data)
        return found.drop_null()

    def wrong(self, what: str) -> ConfigError:
        """The error that says what is wrong with the file."""
        return ConfigError(f"{self.option} {self.uri}{what}. {self.cure}")

    def _parquet(self, data: bytes) -> pa.Table:
        try:
            names = pq.read_schema(io.BytesIO(data)).names
            places = _places(names, self.columns)
            if places is None:
                raise self.wrong(f" has the columns {', '.join(names)}")
            found = pq.read_table(io.BytesIO(data), columns=[names[place] for place in places])
            columns = [found[names[place]].cast(pa.string()) for place in places]
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise self.wrong(f" cannot be read: {error}") from error
        return pa.table(columns, names=self.columns)

    def _text(self, data: bytes) -> pa.Table:
        try:
            text = decode_text(data)
        except UnicodeDecodeError as error:
            raise self.wrong(" is neither Parquet nor text in UTF-8, UTF-16 or GB18030") from error
        columns = list(zip(*self._rows(text), strict=True)) or [()] * len(self.columns)
        return pa.table([pa.array(values, pa.string()) for values in columns], names=self.columns)

    def _rows(self, text: str) -> Iterator[Sequence[str | None]]:
        first = _LINE_END.split(text[:_HEAD_CHARACTERS], maxsplit=1)[0]
        for delimiter in _DELIMITERS:
            places = _places(next(csv.reader([first], delimiter=delimiter), []), self.columns)
            if places is not None:  # a line of ids names no column
                named = list(self._fields(text, delimiter))[1:]
                yield from ([_at(fields, place) for place in places] for _, fields in named)
                return
        if len(self.columns) == 1:
            yield from ([line.strip()] for line in _LINE_END.split(text) if line.strip())
            return
        delimiter = next((one for one in "\t,;" if one in first), ",")
        for line, fields in self._fields(text, delimiter, spaced=True):
            if len(fields) != len(self.columns):
                raise self.wrong(f", line {line}: {len(fields)} fields")
            yield [field.strip() for field in fields]

    def _fields(self, text: str, delimiter: str, spaced: bool = False) -> Iterator[tuple[int, list[str]]]:
        """The number and the fields of each line that is not blank; `spaced` if spaces may follow delimiters."""
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=spaced)
        try:
            for fields in filter(None, reader):
                yield reader.line_num, fields
        except csv.Error as error:
            raise self.wrong(f", line {reader.line_num}: {error}") from error


def _places(names: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Where the wanted columns are: under their very names, else in another case; None if one is not there."""
    plain = [name.strip().lower() for name in names]
    found = [names.index(name) if name in names else plain.index(name) if name in plain else -1 for name in wanted]
    return None if -1 in found else found


def _at(fields: Sequence[str], place: int) -> str | None:
    return fields[place] or None if place < len(fields) else None
