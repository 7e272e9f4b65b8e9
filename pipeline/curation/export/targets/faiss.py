"""Exports a faiss index of exact inner products (cosines), and the id at each of its positions.

    image.index, image_ids.parquet (position, id)        likewise text

faiss keeps an index in memory: rows x D x 4 bytes.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.curation.export.contract import Exported, ExportRequest
from pipeline.curation.vectors import IMAGE, TEXT, vector_blocks
from pipeline.dataset.dataset import Dataset

_IDS = pa.schema([pa.field("position", pa.int64(), nullable=False), pa.field("id", pa.string(), nullable=False)])


def export(request: ExportRequest) -> Exported:
    """Write one index per vector column: the chosen one, or all of the dataset."""
    identity = Dataset.open(request.out).identity
    chosen = {"image": (IMAGE,), "text": (TEXT,)}.get(request.options.vectors or "", identity.vector_columns)
    files: dict[str, int] = {}
    for vector in chosen:
        files |= _export_one(request, vector, identity.dim)
    return Exported(files)


def _export_one(request: ExportRequest, vector: str, dim: int) -> dict[str, int]:
    import faiss  # of the extra curate

    kind = vector.removesuffix("_embedding")
    index: Any = faiss.IndexFlatIP(dim)
    index_uri, ids_uri = (storage.join(request.dest, name) for name in (f"{kind}.index", f"{kind}_ids.parquet"))
    with storage.staged_file(index_uri) as index_path, storage.staged_file(ids_uri) as ids_path:
        with pq.ParquetWriter(ids_path, _IDS, compression="zstd") as ids:
            for block in vector_blocks(request.out, vector):
                positions = pa.array(range(index.ntotal, index.ntotal + len(block.vectors)), pa.int64())
                ids.write_table(pa.table([positions, block.rows["id"].combine_chunks()], schema=_IDS))
                index.add(block.vectors)
                request.on_rows(len(block.vectors))
        faiss.write_index(index, str(index_path))
    return {index_uri: index.ntotal, ids_uri: index.ntotal}
