"""Converts columns to Milvus: the fields of a collection, and values for its bulk import and for its client.

In: columns of a dataset, without the vectors. Out: fields with the names and types of Milvus; Arrow columns for files,
where JSON is text; Python rows for upserts, where JSON is objects. Milvus has neither decimals nor points in time:
decimals become Double, times VarChar. Lists of plain values become Array, other nested values JSON.
"""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.curation.values.arrow import (
    is_list,
    is_text,
    plain,
    plain_type,
    python_values,
    with_hex_hash,
    with_hex_hash_type,
)
from pipeline.curation.values.json_values import json_text, json_values
from pipeline.curation.values.names import NameRules
from pipeline.errors import UsageError

LONGEST_BYTES = 65535
MOST_ELEMENTS = 4096
_TYPES = {
    pa.bool_(): "Bool",
    pa.int8(): "Int8",
    pa.uint8(): "Int16",
    pa.int16(): "Int16",
    pa.uint16(): "Int32",
    pa.int32(): "Int32",
    pa.uint32(): "Int64",
    pa.int64(): "Int64",
    pa.float16(): "Float",
    pa.float32(): "Float",
    pa.float64(): "Double",
}
_ARROW = {
    "Bool": pa.bool_(),
    "Int8": pa.int8(),
    "Int16": pa.int16(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "Float": pa.float32(),
    "Double": pa.float64(),
    "VarChar": pa.string(),
    "JSON": pa.string(),
}


#: Words of its filters.
_KEYWORDS = frozenset(
    ["like", "exists", "and", "or", "not", "in", "is", "null", "true", "false", "iso", "interval"]
    + [f"{kind}_contains{which}" for kind in ("json", "array") for which in ("", "_all", "_any")]
    + ["array_length", "text_match", "phrase_match", "random_sample"]
)
#: Fields of its own. Words of filters count in any case, although some releases refuse only some.
_OWN = frozenset(["RowID", "Timestamp", "_seq", "_partition"])
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
NAMES = NameRules(
    "Milvus",
    "up to 255 ASCII letters, digits and _, first a letter or _, and no keyword such as `in` or `Timestamp`,",
    lambda name: bool(_NAME.fullmatch(name)) and name.lower() not in _KEYWORDS and name not in _OWN,
    most=64,
)


def fields(schema: pa.Schema) -> list[dict[str, Any]]:
    """The description of each column; `id` is the primary key, and `image_phash` is text."""
    return [_field(field) for field in with_hex_hash_type(schema)]


def columns(table: pa.Table) -> pa.Table:
    """The rows with the Arrow types of the bulk import.

    Raises:
        UsageError: a value is too large for Milvus, or a list has a null element, which Milvus does not store.
    """
    table = with_hex_hash(table)
    made = pa.table([_column(column) for column in table.columns], names=table.column_names)
    for name in made.column_names:
        _refuse_unfit(made, name)
    return made


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as its client takes them, with JSON as objects and lists. Raises UsageError as `columns` does."""
    made = columns(table)
    values = [
        json_values(column) if type_name(column.type) == "JSON" else made[name].to_pylist()
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*values, strict=True)]


def type_name(kind: pa.DataType) -> str:
    """The Milvus type for values of an Arrow type."""
    kind = plain_type(kind)
    if is_list(kind):
        element = type_name(kind.value_type)
        return "JSON" if element == "JSON" or element.startswith("Array") else f"Array of {element}"
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        return "JSON"
    return "Double" if pa.types.is_decimal(kind) or pa.types.is_duration(kind) else _TYPES.get(kind, "VarChar")


def _field(column: pa.Field) -> dict[str, Any]:
    name, of, element = type_name(column.type).partition(" of ")
    field: dict[str, Any] = {"name": column.name, "data_type": name}
    if of:
        field |= {"element_type": element, "max_capacity": MOST_ELEMENTS}
    if "VarChar" in (name, element):
        field["max_length"] = LONGEST_BYTES
    return field | ({"is_primary": True} if column.name == "id" else {"nullable": True})


def _column(column: pa.ChunkedArray) -> pa.Array:
    name, of, element = type_name(column.type).partition(" of ")
    if name == "JSON":
        texts = [None if value is None else json_text(value) for value in json_values(column)]
        return pa.array(texts, pa.string())
    if of:
        lists = python_values(column, lambda values: _scalars(values, element).to_pylist())
        return pa.array(lists, pa.list_(_ARROW[element]))
    return _scalars(plain(column), name)


def _scalars(column: pa.Array, name: str) -> pa.Array:
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column.cast(pa.float64())), column, None)
    if column.type in _TYPES or is_text(column.type) or pa.types.is_uint64(column.type):
        return column.cast(_ARROW[name])
    return pa.array(json_values(column), _ARROW[name])


def _refuse_unfit(table: pa.Table, name: str) -> None:
    """Raise UsageError for a value that Milvus does not import."""
    column = plain(table[name])
    listed = pa.types.is_list(column.type)
    values = column.flatten() if listed else column
    wrong = {f"has more than {LONGEST_BYTES:,} bytes": _too_long(values)}
    if listed:
        wrong = {what: _in_lists(column, found) for what, found in wrong.items()}
        wrong["has a null among its elements"] = _in_lists(column, values.is_null(nan_is_null=True))
        wrong[f"has more than {MOST_ELEMENTS:,} elements"] = pc.greater(pc.list_value_length(column), MOST_ELEMENTS)
    cure = "give this record a shorter id" if name == "id" else "choose the columns to write with --column"
    for what, found in wrong.items():
        if pc.any(found).as_py():
            id_ = table["id"].filter(found)[0].as_py()
            raise UsageError(f"The column {name} of the row {id_!r:.80} {what}, which Milvus does not import: {cure}.")


def _too_long(values: pa.Array) -> pa.Array:
    if not pa.types.is_string(values.type):
        return pa.repeat(pa.scalar(False), len(values))
    return pc.fill_null(pc.greater(pc.binary_length(values), LONGEST_BYTES), False)


def _in_lists(column: pa.ListArray, found: pa.Array) -> pa.Array:
    """Which lists have an element that was found."""
    at = set(pc.list_parent_indices(column).filter(found).to_pylist())
    return pa.array([row in at for row in range(len(column))])
