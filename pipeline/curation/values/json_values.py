"""Converts columns to JSON values: for Qdrant's payloads, JSON columns of databases, and the .json of tars.

JSON has numbers, text, true, false, null, lists and objects. Decimals become numbers, bytes base64, times ISO 8601
text, durations seconds, maps objects. NaN and infinities become null, since JSON has neither.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from decimal import Decimal
from math import isfinite
from typing import Any

import pyarrow as pa

from pipeline.curation.values.arrow import (
    Leaf,
    durations,
    is_bytes,
    is_list,
    is_text,
    plain_type,
    python_values,
    time_texts,
)

Number = Callable[[Decimal], Any]


def json_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Each row as an object by column name."""
    columns = [json_values(column) for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def json_values(column: pa.Array | pa.ChunkedArray, decimal: Number | None = None) -> list[Any]:
    """The values of a column as `json.dumps` takes them; `decimal` converts decimals, by default to numbers."""
    return python_values(column, _leaf(decimal or number))


def number(value: Decimal) -> int | float:
    """The decimal as an integer if it is whole and has 64 bits, else as the nearest floating-point number."""
    whole = value == value.to_integral_value() and abs(value) < 2**63
    return int(value) if whole and _scale(value) <= 0 else float(value)


def json_type(kind: pa.DataType) -> str:
    """What a value of this type becomes, in the words of the documentation."""
    kind = plain_type(kind)
    types = pa.types
    if is_list(kind):
        return f"list of {json_type(kind.value_type)}"
    if types.is_struct(kind) or types.is_map(kind):
        return "object"
    if types.is_boolean(kind):
        return "Boolean"
    if types.is_integer(kind):
        return "integer"
    if types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_duration(kind):
        return "number of seconds"
    if is_bytes(kind):
        return "base64"
    return "null" if types.is_null(kind) else "text" if is_text(kind) else "ISO 8601 text"


def json_text(value: Any) -> str:
    """JSON with all digits of decimals."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json_text(name)}: {json_text(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(json_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _scale(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _leaf(decimal: Number) -> Leaf:
    def leaf(column: pa.Array) -> list[Any]:
        kind = column.type
        if pa.types.is_duration(kind):
            return _each(durations(column), decimal if decimal is not number else float)
        if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
            return time_texts(column)
        values = column.to_pylist()
        if pa.types.is_floating(kind):
            return _each(values, _finite)
        if pa.types.is_decimal(kind):
            return _each(values, decimal)
        if is_bytes(kind):
            return _each(values, lambda value: base64.b64encode(value).decode())
        known = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or is_text(kind) or pa.types.is_null(kind)
        return values if known else _each(values, str)

    return leaf


def _each(values: list[Any], convert: Callable[[Any], Any]) -> list[Any]:
    return [None if value is None else convert(value) for value in values]


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None
