"""Converts columns for SQL and JSON databases, which lack unsigned 64-bit integers and nested columns."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any

import pyarrow as pa


def plain_columns(table: pa.Table) -> pa.Table:
    """The same rows, with uint64 as 16 hex digits, and nested, binary and temporal values as text."""
    for at, column in enumerate(table.schema):
        kind = plain_type(column.type)
        if kind != column.type:
            cells = pa.array([_plain(value, column.type) for value in table[column.name].to_pylist()], kind)
            table = table.set_column(at, pa.field(column.name, kind, column.nullable), cells)
    return table


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column after `plain_columns`."""
    small = pa.types.is_integer(kind) and not pa.types.is_uint64(kind)
    kept = small or pa.types.is_boolean(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind)
    return kind if kept else pa.string()


def _plain(value: Any, kind: pa.DataType) -> str | None:
    if value is None:
        return None
    if pa.types.is_uint64(kind):
        return f"{value:016x}"
    if isinstance(value, str):
        return value
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return json.dumps(value, ensure_ascii=False, default=str)
