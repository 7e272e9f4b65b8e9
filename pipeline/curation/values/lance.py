"""Converts columns to Lance, which stores Arrow types: values stay as they are, but for the types that it lacks.

In: columns of a dataset. Out: the same values, in the types that Lance stores. Lists of a fixed length hold numbers in
Lance; other lists of a fixed length become lists.
"""

from __future__ import annotations

import re

import pyarrow as pa

from pipeline.curation.values.names import NameRules
from pipeline.curation.values.retyping import retyped, retyped_schema, retyped_type, widely_known

_PLACE = re.compile(r",? ?/\S+\.rs:\d+(:\d+)?")
_CAUSE_CHARACTERS = 1000
#: Columns of Lance itself, and of the results of its searches.
_RESERVED = frozenset(
    [
        *("_rowid", "_rowaddr", "_rowoffset", "_row_created_at_version", "_row_last_updated_at_version"),
        *("_distance", "_score", "_relevance_score"),
    ]
)
NAMES = NameRules(
    "Lance",
    "text without . and `, other than _distance, _score and its own columns such as _rowid,",
    lambda name: bool(name) and not {".", "`"} & set(name) and name not in _RESERVED,
)


def lance_table(table: pa.Table) -> pa.Table:
    """The rows in the types that Lance stores."""
    return retyped(table, _rule)


def lance_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of `lance_table`."""
    return retyped_schema(schema, _rule)


def type_name(kind: pa.DataType) -> str:
    """The Arrow type in which Lance stores values of an Arrow type."""
    return str(retyped_type(kind, _rule))


def _rule(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_fixed_size_list(kind) and not pa.types.is_primitive(kind.value_type):
        return pa.list_(kind.value_field)
    return widely_known(kind)


def cause_of(error: BaseException) -> str:
    """What Lance says about an error, on one line, without the place in its own source code."""
    return _PLACE.sub("", " ".join(str(error).split()))[:_CAUSE_CHARACTERS] or type(error).__name__
