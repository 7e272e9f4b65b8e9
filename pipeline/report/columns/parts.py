"""The parts of a column: fields of structs, elements of lists, keys and values of maps. Each is described on its own.

In: the type of a column and where it is stored. Out: its parts as SQL. Names never become SQL: columns are stored under
numbers, and fields of structs are taken by position, so quotes, dots and names that differ only in case do no harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from pipeline.report.columns.profile import ValueKind

ELEMENTS, KEYS, VALUES = "[]", "{key}", "{value}"
#: Larger numbers, such as the largest of all in place of a missing one, are counted apart: their sum may be infinite.
LIMIT = 1e150


@dataclass(frozen=True, slots=True)
class Part:
    """A column or a part of one.

    Attributes:
        path: see `ColumnProfile`.
        type: of its values.
        table: where they are, in SQL: a name or a subquery with the column `row`.
        sql: the value in a row of it.
        every: only each such row of the dataset is looked at.
    """

    path: tuple[str, ...]
    type: pa.DataType
    table: str
    sql: str
    every: int = 1

    @property
    def kind(self) -> ValueKind:
        """What is measured."""
        return kind_of(self.type)

    @property
    def seconds(self) -> str:
        """A time in SQL as seconds since 1970, or since midnight. DuckDB has no such function of zoned nanoseconds."""
        kind = plain(self.type)
        zoned = pa.types.is_timestamp(kind) and kind.tz is not None
        return f"epoch(({self.sql})::TIMESTAMPTZ)" if zoned else f"epoch({self.sql})"

    @property
    def measured(self) -> str:
        """The number that is measured, as a DOUBLE in SQL; NULL where it is NaN or too large."""
        match self.kind:
            case ValueKind.NUMBER:
                return f"CASE WHEN abs(({self.sql})::DOUBLE) < {LIMIT!r} THEN ({self.sql})::DOUBLE END"
            case ValueKind.TIME | ValueKind.CLOCK:
                return self.seconds
            case ValueKind.TEXT:
                return f"length(({self.sql})::VARCHAR)::DOUBLE"
            case ValueKind.LIST:
                return f"len({self.sql})::DOUBLE"
            case ValueKind.MAP:
                return f"cardinality({self.sql})::DOUBLE"
            case ValueKind.BINARY:
                return f"octet_length({self.sql})::DOUBLE" if self.is_nested else f"({self.sql})::DOUBLE"
        return "NULL::DOUBLE"

    @property
    def is_nested(self) -> bool:
        """Whether it is inside of a column; whole columns of bytes are stored as their lengths."""
        return len(self.path) > 1

    def inner(self, every: int = 1) -> Iterator[Part]:
        """What it consists of; of lists, only the elements in each `every`-th row."""
        kind = plain(self.type)
        if pa.types.is_struct(kind):
            for place in range(kind.num_fields):
                field = kind.field(place)
                sql = f"struct_extract_at({self.sql}, {place + 1})"
                yield Part((*self.path, field.name), field.type, self.table, sql, self.every)
        elif pa.types.is_map(kind):
            yield self._elements(KEYS, kind.key_type, f"map_keys({self.sql})", every)
            yield self._elements(VALUES, kind.item_type, f"map_values({self.sql})", every)
        elif is_list(kind):
            yield self._elements(ELEMENTS, kind.value_type, self.sql, every)

    def _elements(self, name: str, kind: pa.DataType, sql: str, every: int) -> Part:
        some = self.every * every
        table = f"(SELECT row, unnest({sql}) AS v FROM {self.table} WHERE row % {some} = 0)"
        return Part((*self.path, name), kind, table, "v", some)


def plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values behind dictionaries and extensions."""
    if pa.types.is_dictionary(kind):
        return plain(kind.value_type)
    return plain(kind.storage_type) if isinstance(kind, pa.BaseExtensionType) else kind


def is_list(kind: pa.DataType) -> bool:
    """Whether it is one of Arrow's types of lists."""
    tests = (
        *(pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list),
        *(pa.types.is_list_view, pa.types.is_large_list_view),
    )
    return any(test(kind) for test in tests)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether it is one of Arrow's types of bytes."""
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(test(kind) for test in tests)


def kind_of(kind: pa.DataType) -> ValueKind:
    """What is measured of values of this type."""
    if isinstance(kind, pa.UuidType):
        return ValueKind.TEXT
    kind = plain(kind)
    tests = {
        ValueKind.BOOLEAN: pa.types.is_boolean,
        ValueKind.CLOCK: pa.types.is_time,
        ValueKind.STRUCT: pa.types.is_struct,
        ValueKind.MAP: pa.types.is_map,
        ValueKind.LIST: is_list,
        ValueKind.BINARY: is_bytes,
        ValueKind.NOTHING: pa.types.is_null,
        ValueKind.NUMBER: lambda one: any(
            test(one) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_duration)
        ),
        ValueKind.TIME: lambda one: pa.types.is_timestamp(one) or pa.types.is_date(one),
        ValueKind.TEXT: lambda one: (
            pa.types.is_string(one) or pa.types.is_large_string(one) or pa.types.is_string_view(one)
        ),
    }
    return next((name for name, test in tests.items() if test(kind)), ValueKind.OTHER)
