"""Converts columns to Hugging Face `datasets`, which stores Arrow types: values stay, but for the types that it lacks.

In: columns of a dataset. Out: the same values, in the types that have a feature. Maps become lists of key and value.
"""

from __future__ import annotations

import pyarrow as pa

from pipeline.curation.values.names import NameRules
from pipeline.curation.values.retyping import retyped, retyped_schema, retyped_type, widely_known

NAMES = NameRules("Hugging Face datasets")


def hf_table(table: pa.Table) -> pa.Table:
    """The rows in the types that `datasets` loads."""
    return retyped(table, _rule)


def hf_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of `hf_table`."""
    return retyped_schema(schema, _rule)


def type_name(kind: pa.DataType) -> str:
    """The Arrow type in which `datasets` gets values of an Arrow type."""
    return str(retyped_type(kind, _rule))


def _rule(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_map(kind):
        return pa.list_(pa.struct([pa.field("key", kind.key_type, nullable=False), pa.field("value", kind.item_type)]))
    return widely_known(kind)
