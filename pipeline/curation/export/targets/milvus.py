"""Exports Parquet files for the bulk import of Milvus, and the schema of their collection.

rows-00000.parquet    vectors as list<float>, which every release imports; row groups of about 32 MB
schema.json           the fields, with the names and types of Milvus
"""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.curation.export.cells import plain_columns, plain_type
from pipeline.curation.export.contract import Exported, ExportRequest
from pipeline.curation.export.parts import Parts, drop_parts
from pipeline.curation.export.staging import staged_file
from pipeline.curation.vectors import Vectors, matrix
from pipeline.errors import UsageError

_LONGEST_VARCHAR = 65535
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
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
    pa.string(): "VarChar",
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
}


def export(request: ExportRequest) -> Exported:
    """Write the parts, then the schema."""
    parts = Parts(request)
    _refuse_names(parts.schema.names)
    fields = [_field(column, parts) for column in parts.schema]
    schema = pa.schema([_column(field) for field in fields])
    for number, table in enumerate(parts):
        plain = plain_columns(table.select(parts.scalars))
        for vector in parts.vectors:
            plain = plain.append_column(vector, _lists(matrix(table[vector])))
        rows = plain.select(schema.names).cast(schema)
        _refuse_long(rows)
        with staged_file(_uri(request, number)) as path:
            pq.write_table(rows, path, row_group_size=parts.group_rows, use_dictionary=False, store_schema=False)
    drop_parts(partial(_uri, request), parts.count)
    collection = {"enable_dynamic_field": False, "fields": fields}
    storage.overwrite(storage.join(request.dest, "schema.json"), json.dumps(collection, indent=2).encode())
    return Exported({storage.join(request.dest, "rows-*.parquet"): parts.rows}, parts.left_out)


def _uri(request: ExportRequest, number: int) -> str:
    return storage.join(request.dest, f"rows-{number:05d}.parquet")


def _refuse_names(names: list[str]) -> None:
    """Raise UsageError for column names that Milvus does not allow."""
    if wrong := [name for name in names if not _NAME.fullmatch(name)]:
        raise UsageError(
            f"Milvus allows only ASCII letters, digits and _ in column names, which excludes {', '.join(wrong)}: "
            "choose the columns to write with --column."
        )


def _refuse_long(rows: pa.Table) -> None:
    """Raise UsageError for a text that is too long for the import."""
    for name in (field.name for field in rows.schema if pa.types.is_string(field.type)):
        long = rows.filter(pc.greater(pc.binary_length(rows[name]), _LONGEST_VARCHAR))
        if long.num_rows:
            raise UsageError(
                f"The column {name} of the row {long['id'][0].as_py()!r:.80} has more than {_LONGEST_VARCHAR:,} bytes, "
                "which Milvus does not import: choose the columns to write with --column."
            )


def _lists(vectors: Vectors) -> pa.ListArray:
    """(B, D) as lists of variable length."""
    offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.reshape(-1)))


def _field(column: pa.Field, parts: Parts) -> dict[str, Any]:
    """The Milvus description of a column."""
    if column.name in parts.vectors:
        return {"name": column.name, "data_type": "FloatVector", "dim": parts.dim}
    field: dict[str, Any] = {"name": column.name, "data_type": _TYPES[plain_type(column.type)]}
    if field["data_type"] == "VarChar":
        field["max_length"] = _LONGEST_VARCHAR
    return field | ({"is_primary": True} if column.name == "id" else {"nullable": True})


def _column(field: dict[str, Any]) -> pa.Field:
    if "dim" in field:
        return pa.field(field["name"], pa.list_(pa.float32()))
    return pa.field(field["name"], _ARROW[field["data_type"]])
