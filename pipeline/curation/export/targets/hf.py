"""Exports a folder that Hugging Face `datasets` loads and that can be pushed to its hub unchanged.

data/train-00000.parquet    id, columns and vectors, on request the original images; row groups small enough for the
                            hub's viewer
README.md                   the dataset card, which points to the data
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.curation.export.contract import Exported, ExportRequest
from pipeline.curation.export.images import BLOCK_ROWS, IMAGE_TYPE, OriginalImages
from pipeline.curation.export.parts import Parts
from pipeline.curation.values.hf import NAMES, hf_schema, hf_table
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.identity import Identity
from pipeline.errors import NotFoundError, UsageError

IMAGE = "image"
#: Rows of a file with images: fewer than of vectors alone, since images are large.
_ROWS_WITH_IMAGES = 10_000
_SIGNATURE = b"Written by hanclip."
_CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.parquet
---

# Chinese-CLIP embeddings

Vectors of length {dim} ({dtype}) from {model}, weights {weights}, of unit length: their inner product is the cosine.
Written by hanclip.
"""


def export(request: ExportRequest) -> Exported:
    """Write the parts, then the card."""
    _refuse_other_card(request)
    if request.options.images and "rows_per_file" not in request.options.model_fields_set:
        options = request.options.model_copy(update={"rows_per_file": _ROWS_WITH_IMAGES})
        request = replace(request, options=options)
    parts = Parts(request, NAMES)
    identity = Dataset.open(request.out).identity
    with OriginalImages(request.out) if request.options.images else nullcontext() as images:
        schema = _schema(parts, images)
        for number, table in enumerate(parts):
            with storage.staged_file(_uri(request, number)) as path, _writer(path, schema, parts) as writer:
                for rows in _with_images(hf_table(table), parts, images):
                    writer.write_table(rows.cast(schema))
    storage.delete_numbered(partial(_uri, request), parts.count)
    storage.overwrite(storage.join(request.dest, "README.md"), _card(identity).encode())
    files = {storage.join(request.dest, "data"): parts.rows}
    following = f"datasets.load_dataset({request.dest!r}, split='train')"
    missing = images.missing if images else 0
    return Exported(files, parts.left_out, next=following, missing_images=missing)


def _schema(parts: Parts, images: OriginalImages | None) -> pa.Schema:
    schema = hf_schema(parts.schema)
    if images is None:
        return schema
    NAMES.check([*schema.names, IMAGE])
    feature = {"info": {"features": {IMAGE: {"_type": "Image"}}}}
    return schema.append(pa.field(IMAGE, IMAGE_TYPE)).with_metadata({"huggingface": json.dumps(feature)})


def _writer(path: Path, schema: pa.Schema, parts: Parts) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=parts.scalars, write_page_index=True)


def _with_images(table: pa.Table, parts: Parts, images: OriginalImages | None) -> Iterator[pa.Table]:
    """The rows, a row group at a time."""
    size = parts.group_rows if images is None else min(parts.group_rows, BLOCK_ROWS)
    for at in range(0, table.num_rows, size):
        rows = table.slice(at, size)
        yield rows.append_column(IMAGE, images.column(rows)) if images else rows


def _uri(request: ExportRequest, number: int) -> str:
    return storage.join(request.dest, "data", f"train-{number:05d}.parquet")


def _refuse_other_card(request: ExportRequest) -> None:
    """Raise UsageError if the export would overwrite a README.md that hanclip did not write."""
    with suppress(NotFoundError):
        if _SIGNATURE not in storage.read_bytes(storage.join(request.dest, "README.md")):
            raise UsageError(f"{request.dest} has a README.md that hanclip did not write: choose another DEST.")


def _card(identity: Identity) -> str:
    facts = {"dim": identity.dim, "dtype": identity.embedding_dtype, "model": identity.model}
    return _CARD.format(**facts, weights=identity.weights_sha256[:12])
