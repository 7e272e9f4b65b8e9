"""Exports Parquet files for the bulk import of Milvus, and the schema of their collection.

rows-00000.parquet    vectors as list<float>, which every release imports; row groups of about 32 MB
schema.json           the fields, with the names and types of Milvus
"""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.curation.export.contract import Exported, ExportRequest
from pipeline.curation.export.parts import Parts
from pipeline.curation.values.milvus import NAMES, columns, fields
from pipeline.curation.vectors import Vectors, matrix


def export(request: ExportRequest) -> Exported:
    """Write the parts, then the schema."""
    parts = Parts(request, NAMES)
    described = fields(pa.schema([parts.schema.field(name) for name in parts.scalars]))
    described += [{"name": name, "data_type": "FloatVector", "dim": parts.dim} for name in parts.vectors]
    for number, table in enumerate(parts):
        rows = columns(table.select(parts.scalars))
        for vector in parts.vectors:
            rows = rows.append_column(vector, _lists(matrix(table[vector])))
        with storage.staged_file(_uri(request, number)) as path:
            pq.write_table(rows, path, row_group_size=parts.group_rows, use_dictionary=False, store_schema=False)
    storage.delete_numbered(partial(_uri, request), parts.count)
    collection = {"enable_dynamic_field": False, "fields": described}
    storage.overwrite(storage.join(request.dest, "schema.json"), json.dumps(collection, indent=2).encode())
    return Exported({storage.join(request.dest, "rows-*.parquet"): parts.rows}, parts.left_out)


def _uri(request: ExportRequest, number: int) -> str:
    return storage.join(request.dest, f"rows-{number:05d}.parquet")


def _lists(vectors: Vectors) -> pa.ListArray:
    """(B, D) as lists of variable length."""
    offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.reshape(-1)))
