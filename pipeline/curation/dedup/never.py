"""Reads the file of pairs that are no duplicates.

In: its address: Parquet with the columns `id` and `other`, such as rows of `pairs.parquet`, or CSV or TSV with two ids
in each line. Out: a table of both columns. Ids that the dataset lacks are allowed: the file may be older than its rows.
"""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.errors import ConfigError

_SCHEMA = pa.schema([("id", pa.string()), ("other", pa.string())])
_CURE = "Give Parquet with the columns id and other, or CSV with two ids in each line."


def read_never(uri: str | None) -> pa.Table | None:
    """The pairs of the file at `uri`; None without one. Raises ConfigError, StorageError."""
    if uri is None:
        return None
    data = storage.read_bytes(storage.normalise(uri))
    if data[:4] == b"PAR1":
        try:
            return pq.read_table(io.BytesIO(data), columns=_SCHEMA.names).cast(_SCHEMA)
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise ConfigError(f"--not-duplicates {uri} cannot be read: {error}. {_CURE}") from error
    return pa.Table.from_pylist(_lines(uri, data), _SCHEMA)


def _lines(uri: str, data: bytes) -> list[dict[str, str]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"--not-duplicates {uri} is neither Parquet nor text in UTF-8. {_CURE}") from error
    lines = io.StringIO(text, newline=None)  # programs end lines with any of \n, \r\n and \r
    tabs = "\t" in lines.readline()
    lines.seek(0)
    pairs = []
    reader = csv.reader(lines, delimiter="\t" if tabs else ",", skipinitialspace=True)
    try:
        for fields in filter(None, reader):
            if len(fields) != 2:
                raise ConfigError(f"--not-duplicates {uri}, line {reader.line_num}: {len(fields)} fields. {_CURE}")
            pairs.append({"id": fields[0].strip(), "other": fields[1].strip()})
    except csv.Error as error:
        raise ConfigError(f"--not-duplicates {uri}, line {reader.line_num}: {error}. {_CURE}") from error
    return pairs
