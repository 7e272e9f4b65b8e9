"""Exports NumPy matrices and Parquet metadata in the layout of clip-retrieval and embedding-reader.

img_emb/img_emb_0000.npy    (B, D), float32 or float16 as stored        likewise text_emb
metadata/metadata_0000.parquet    id and the other columns, in the same order
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.curation.export.contract import Exported, ExportRequest
from pipeline.curation.export.parts import Parts
from pipeline.curation.values.names import NameRules
from pipeline.curation.vectors import IMAGE, TEXT, matrix

NAMES = NameRules("Parquet")
_FOLDERS = {IMAGE: "img_emb", TEXT: "text_emb"}
_METADATA = "metadata"


def export(request: ExportRequest) -> Exported:
    """Write the matrices of each part, then its metadata."""
    parts = Parts(request, NAMES)
    for number, table in enumerate(parts):
        for vector in parts.vectors:
            with storage.staged_file(_uri(request, _FOLDERS[vector], number)) as path:
                np.save(path, _matrix(table[vector]))
        with storage.staged_file(_uri(request, _METADATA, number)) as path:
            pq.write_table(table.select(parts.scalars), path, compression="zstd")
    folders = [*(_FOLDERS[vector] for vector in parts.vectors), _METADATA]
    for folder in folders:
        storage.delete_numbered(partial(_uri, request, folder), parts.count)
    return Exported({storage.join(request.dest, folder): parts.rows for folder in folders}, parts.left_out)


def _uri(request: ExportRequest, folder: str, number: int) -> str:
    suffix = "parquet" if folder == _METADATA else "npy"
    return storage.join(request.dest, folder, f"{folder}_{number:04d}.{suffix}")


def _matrix(column: pa.ChunkedArray) -> np.ndarray[tuple[int, ...], np.dtype[np.float16 | np.float32]]:
    vectors = matrix(column)
    return vectors.astype(np.float16) if pa.types.is_float16(column.type.value_type) else vectors
