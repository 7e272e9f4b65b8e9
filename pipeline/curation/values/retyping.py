"""Replaces Arrow types that a reader of Arrow data lacks, also inside lists and structs.

In: a table and a rule, which gives the type that stands for another one. Out: the same values in those types.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from pipeline.curation.values.arrow import is_list, plain, plain_type

Rule = Callable[[pa.DataType], pa.DataType]


def retyped(table: pa.Table, rule: Rule) -> pa.Table:
    """The table in the types of `retyped_schema`."""
    schema = retyped_schema(table.schema, rule)
    columns = [
        column if column.type == field.type else plain(column).cast(field.type)
        for column, field in zip(table.columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def retyped_schema(schema: pa.Schema, rule: Rule) -> pa.Schema:
    """The schema with the type of each field, and of those inside it, as `rule` gives it."""
    return pa.schema([field.with_type(retyped_type(field.type, rule)) for field in schema])


def retyped_type(kind: pa.DataType, rule: Rule) -> pa.DataType:
    """The type that stands for `kind`."""
    kind = rule(plain_type(kind))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(retyped_type(field.type, rule)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(retyped_type(kind.key_type, rule), retyped_type(kind.item_type, rule))
    if not is_list(kind):
        return kind
    item = kind.value_field.with_type(retyped_type(kind.value_type, rule))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(item, kind.list_size)
    return pa.large_list(item) if pa.types.is_large_list(kind) else pa.list_(item)


def widely_known(kind: pa.DataType) -> pa.DataType:
    """The older type for views and small decimals, which few readers know."""
    types = pa.types
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        return pa.list_(kind.value_field)
    if types.is_decimal32(kind) or types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if types.is_string_view(kind):
        return pa.string()
    return pa.binary() if types.is_binary_view(kind) else kind
