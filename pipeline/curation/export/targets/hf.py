"""Exports a folder that Hugging Face `datasets` loads and that can be pushed to its hub unchanged.

data/train-00000.parquet    id, columns and vectors; row groups small enough for the hub's viewer
README.md                   the dataset card, which points to the data
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pyarrow.parquet as pq

from pipeline import storage
from pipeline.curation.export.contract import Exported, ExportRequest
from pipeline.curation.export.parts import Parts, drop_parts
from pipeline.curation.export.staging import staged_file
from pipeline.curation.export.values.hf import NAMES, hf_table
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.identity import Identity
from pipeline.errors import NotFoundError, UsageError

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
    parts = Parts(request, NAMES)
    identity = Dataset.open(request.out).identity
    for number, table in enumerate(parts):
        with staged_file(_uri(request, number)) as path:
            pq.write_table(
                hf_table(table),
                path,
                compression="zstd",
                row_group_size=parts.group_rows,
                use_dictionary=parts.scalars,
                write_page_index=True,
            )
    drop_parts(partial(_uri, request), parts.count)
    storage.overwrite(storage.join(request.dest, "README.md"), _card(identity).encode())
    files = {storage.join(request.dest, "data"): parts.rows}
    return Exported(files, parts.left_out, f"datasets.load_dataset({request.dest!r}, split='train')")


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
