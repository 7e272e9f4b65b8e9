r"""Converts columns to PostgreSQL: the type of each column, and values in the text form that its types read.

In: columns of a dataset, without the vectors. Out: SQL types and text, as COPY takes it (`copy_line`) and as a
parameter with a cast does. Lists of plain values become arrays; structs, maps and nested lists become jsonb. NUL
characters are dropped, since `text` cannot hold them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pyarrow as pa

from pipeline.curation.values.arrow import (
    durations,
    is_bytes,
    is_list,
    is_text,
    plain,
    plain_type,
    python_values,
    time_texts,
    with_hex_hash,
    with_hex_hash_type,
)
from pipeline.curation.values.json_values import json_text, json_values
from pipeline.curation.values.names import NameRules

_SMALL, _WHOLE, _LARGE = "smallint", "integer", "bigint"
_TYPES = {
    pa.bool_(): "boolean",
    pa.int8(): _SMALL,
    pa.uint8(): _SMALL,
    pa.int16(): _SMALL,
    pa.uint16(): _WHOLE,
    pa.int32(): _WHOLE,
    pa.uint32(): _LARGE,
    pa.int64(): _LARGE,
    pa.uint64(): "numeric(20,0)",
    pa.float16(): "real",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.date32(): "date",
    pa.date64(): "date",
}
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": None})
_QUOTED = str.maketrans({"\\": "\\\\", '"': '\\"'})
_LONGEST_BYTES = 63
_SYSTEM = frozenset(["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"])
NAMES = NameRules(
    "PostgreSQL",
    f"up to {_LONGEST_BYTES} bytes without control characters, and no system column such as ctid,",
    lambda name: 0 < len(name.encode()) <= _LONGEST_BYTES and name.isprintable() and name not in _SYSTEM,
    most=1600,
)


def sql_types(schema: pa.Schema) -> dict[str, str]:
    """The SQL type of each column by its name; `image_phash` is text."""
    return {field.name: type_name(field.type) for field in with_hex_hash_type(schema)}


def literals(table: pa.Table) -> list[list[str | None]]:
    """For each column the text form of its values."""
    return [_literals(column) for column in with_hex_hash(table).columns]


def copy_line(cells: Iterable[str | None]) -> str:
    r"""A line of COPY's text format: tabs between cells, \N for null."""
    return "\t".join("\\N" if cell is None else cell.translate(_ESCAPES) for cell in cells) + "\n"


def type_name(kind: pa.DataType) -> str:
    """The SQL type for values of an Arrow type."""
    kind = plain_type(kind)
    types = pa.types
    if is_list(kind):
        return "jsonb" if _nested(kind.value_type) else f"{type_name(kind.value_type)}[]"
    if _nested(kind):
        return "jsonb"
    if types.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})" if 0 <= kind.scale <= kind.precision else "numeric"
    if types.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamptz"
    if types.is_time(kind):
        return "time"
    if types.is_duration(kind):
        return "interval"
    return "bytea" if is_bytes(kind) else _TYPES.get(kind, "text")


def _nested(kind: pa.DataType) -> bool:
    kind = plain_type(kind)
    return is_list(kind) or bool(pa.types.is_struct(kind) or pa.types.is_map(kind))


def _literals(column: pa.Array | pa.ChunkedArray) -> list[str | None]:
    column = plain(column)
    if type_name(column.type) == "jsonb":
        return _each(json_values(column, decimal=lambda value: value), lambda value: json_text(_without_nul(value)))
    if is_list(column.type):
        return _each(python_values(column, _leaf), _array)
    return _leaf(column)


def _leaf(column: pa.Array) -> list[str | None]:
    kind = column.type
    if pa.types.is_duration(kind):
        return _each(durations(column), lambda seconds: f"{seconds:f} seconds")
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return _each(time_texts(column), _dated)
    return _each(column.to_pylist(), _text_of(kind))


def _text_of(kind: pa.DataType) -> Callable[[Any], str]:
    if pa.types.is_floating(kind):
        return lambda value: repr(float(value))
    if is_bytes(kind):
        return lambda value: "\\x" + value.hex()
    if is_text(kind):
        return lambda value: value.replace("\0", "")
    return lambda value: format(value, "f") if isinstance(value, Decimal) else str(value)


def _dated(text: str) -> str:
    """Years before 1 as PostgreSQL counts them: there is no year 0 but 1 BC."""
    year, dash, rest = text[1:].partition("-") if text.startswith("-") else ("0", *text.partition("-")[1:])
    return f"{int(year) + 1:04d}{dash}{rest} BC" if text.startswith(("-", "0000-")) else text


def _array(values: list[str | None]) -> str:
    return "{" + ",".join("NULL" if value is None else f'"{value.translate(_QUOTED)}"' for value in values) + "}"


def _without_nul(value: Any) -> Any:
    if isinstance(value, dict):
        return {name.replace("\0", ""): _without_nul(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    return value.replace("\0", "") if isinstance(value, str) else value


def _each(values: Iterable[Any], convert: Callable[[Any], str]) -> list[str | None]:
    return [None if value is None else convert(value) for value in values]
