"""What all consumers share: unwraps encodings of Arrow, writes points in time as text, and walks nested columns.

In: Arrow columns. Out: Arrow columns or Python values. Times go through Arrow and not through Python, which knows
neither nanoseconds nor years after 9999.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

Leaf = Callable[[pa.Array], list[Any]]

#: A hash of 64 bits that databases without unsigned numbers get as 16 hex digits.
HASH = "image_phash"
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def is_list(kind: pa.DataType) -> bool:
    """Whether values are lists, of fixed or variable length."""
    types = pa.types
    views = types.is_list_view(kind) or types.is_large_list_view(kind)
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or views)


def is_text(kind: pa.DataType) -> bool:
    """Whether values are text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values are bytes."""
    types = pa.types
    fixed = types.is_fixed_size_binary(kind) or types.is_binary_view(kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or fixed)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values themselves, without dictionary, run-end encoding or extension."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    return kind


def plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column in one piece, as `plain_type`."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(column, pa.ExtensionArray):
        return plain(column.storage)
    if pa.types.is_dictionary(column.type):
        return plain(column.dictionary_decode())
    if pa.types.is_list_view(column.type) or pa.types.is_large_list_view(column.type):
        return _listed(column)
    return plain(pc.run_end_decode(column)) if pa.types.is_run_end_encoded(column.type) else column


def _listed(column: pa.Array) -> pa.ListArray:
    """A list view as a list. Arrow's cast fails where the last one is null."""
    ends = pc.cumulative_sum(pc.fill_null(pc.list_value_length(column), 0)).cast(pa.int32())
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    return pa.ListArray.from_arrays(offsets, column.flatten(), pa.list_(column.type.value_field), mask=column.is_null())


def with_hex_hash(table: pa.Table) -> pa.Table:
    """The table with the column of `HASH` as 16 hex digits."""
    at = table.schema.get_field_index(HASH)
    if at < 0 or not pa.types.is_uint64(table.schema.field(at).type):
        return table
    digits = [None if value is None else f"{value:016x}" for value in table[HASH].to_pylist()]
    return table.set_column(at, pa.field(HASH, pa.string()), pa.array(digits, pa.string()))


def with_hex_hash_type(schema: pa.Schema) -> pa.Schema:
    """The schema of `with_hex_hash`."""
    return with_hex_hash(schema.empty_table()).schema


def time_texts(column: pa.Array) -> list[str | None]:
    """Dates, times and points in time in ISO 8601 with `T`; those of a zone in UTC with `Z`."""
    kind = column.type
    zone = pa.types.is_timestamp(kind) and kind.tz is not None
    if zone:
        column = column.view(pa.timestamp(kind.unit))
    elif pa.types.is_date64(kind):
        column = column.cast(pa.date32())
    text = column.cast(pa.string())
    if not pa.types.is_date(kind):
        for pattern, by in ((r"(\.\d*?)0+$", r"\1"), (r"\.$", ""), (" ", "T")):
            text = pc.replace_substring_regex(text, pattern, by)
    return [value + "Z" if zone and value is not None else value for value in text.to_pylist()]


def durations(column: pa.Array) -> list[Decimal | None]:
    """Durations in seconds, exactly."""
    ticks = column.cast(pa.int64()).to_pylist()
    return [None if value is None else Decimal(value) / _PER_SECOND[column.type.unit] for value in ticks]


def python_values(column: pa.Array | pa.ChunkedArray, leaf: Leaf) -> list[Any]:
    """Lists as lists, structs as dicts, maps as dicts by the text of their keys, all other values as `leaf` gives."""
    column = plain(column)
    kind = column.type
    if pa.types.is_map(kind):
        entry = pa.struct([pa.field("key", kind.key_type, nullable=False), pa.field("value", kind.item_type)])
        return [_mapping(entries) for entries in python_values(column.cast(pa.list_(entry)), leaf)]
    if is_list(kind):
        values = iter(python_values(column.flatten(), leaf))
        return [_taken(values, length) for length in pc.list_value_length(column).to_pylist()]
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        rows = zip(*(python_values(values, leaf) for values in column.flatten()), strict=True)
        cells = rows if names else iter([()] * len(column))
        valid = column.is_valid().to_pylist()
        return [dict(zip(names, row, strict=True)) if there else None for row, there in zip(cells, valid, strict=True)]
    return leaf(column)


def _taken(values: Iterable[Any], length: int | None) -> list[Any] | None:
    return None if length is None else list(islice(values, length))


def _mapping(entries: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    return None if entries is None else {_key(entry["key"]): entry["value"] for entry in entries}


def _key(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
