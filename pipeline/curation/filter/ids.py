"""Reads a file of ids, such as those picked in a report, for a rule that keeps only these rows.

In: its address: text with one id in each line, or CSV with the column `id`, or Parquet with it. Out: the ids. Ids that
the dataset lacks are allowed: the file may be older than its rows.
"""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.errors import ConfigError

#: The names of a file's columns are among its first characters; a longer field is an error of the reader.
_HEAD_CHARACTERS = 100_000
_CURE = "Give text with one id in each line, or CSV or Parquet with the column id."


def read_ids(uri: str) -> pa.Array:
    """The distinct ids of the file at `uri`. Raises ConfigError, StorageError."""
    data = storage.read_bytes(storage.normalise(uri))
    found = _parquet(uri, data) if data[:4] == b"PAR1" else pa.array(_lines(uri, data), pa.string())
    if not len(found):
        raise ConfigError(f"--ids {uri} holds no id. {_CURE}")
    return pc.unique(found)


def _parquet(uri: str, data: bytes) -> pa.Array:
    try:
        column = pq.read_table(io.BytesIO(data), columns=["id"])["id"].cast(pa.string())
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise ConfigError(f"--ids {uri} cannot be read: {error}. {_CURE}") from error
    return column.drop_null().combine_chunks()


def _lines(uri: str, data: bytes) -> list[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"--ids {uri} is neither Parquet nor text in UTF-8. {_CURE}") from error
    first = text[:_HEAD_CHARACTERS].splitlines()[:1]
    for delimiter in ",\t":
        head = next(csv.reader(first, delimiter=delimiter), [])
        if "id" in head:  # an id with a comma is no head: text has one id in each line
            return _column(uri, text, delimiter)
    return [line.strip() for line in text.split("\n") if line.strip()]


def _column(uri: str, text: str, delimiter: str) -> list[str]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return [row["id"] for row in reader if row["id"]]
    except csv.Error as error:
        raise ConfigError(f"--ids {uri}, line {reader.line_num}: {error}. {_CURE}") from error
