"""Lists the formats of `hanclip export --to` and loads the target module that writes one.

To add a format, add a module to `targets` (see `contract`), and its name and one line of help below.
Only the standard library is imported here, so that `--help` can list the formats without Arrow or pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from pipeline.curation.export.contract import Exporter
    from pipeline.curation.export.options import ExportOptions

ExportFormat = Literal["chinese-clip", "npy", "faiss", "lance", "hf", "milvus", "qdrant", "pgvector", "webdataset"]

FORMATS: dict[ExportFormat, str] = {
    "chinese-clip": "img_feat.jsonl, txt_feat.jsonl and texts.jsonl, as the authors' evaluation reads them",
    "npy": "matrices beside Parquet metadata, as clip-retrieval and embedding-reader lay them out",
    "faiss": "an exact index, and the id at each position",
    "lance": "a LanceDB table",
    "hf": "a folder for Hugging Face datasets",
    "milvus": "Parquet for its bulk import, and the collection's schema",
    "qdrant": "points as JSON lines, and the collection",
    "pgvector": "files for COPY, and the script that loads them",
    "webdataset": "tars of the images as they were, with texts and columns",
}

#: The formats that support an option. An option that is not listed applies to all of them.
_SUPPORTED_BY: dict[str, frozenset[ExportFormat]] = {
    "columns": frozenset(FORMATS) - {"chinese-clip", "faiss", "webdataset"},
    "rows_per_file": frozenset({"npy", "hf", "milvus", "qdrant", "pgvector", "webdataset"}),
    "vectors": frozenset(FORMATS) - {"webdataset"},
    "split": frozenset({"chinese-clip"}),
    "number_ids": frozenset({"chinese-clip"}),
}


def unused(name: ExportFormat, options: ExportOptions) -> list[str]:
    """The options that were given but that the format does not support."""
    return [option for option in sorted(options.model_fields_set) if name not in _SUPPORTED_BY.get(option, FORMATS)]


def exporter(name: ExportFormat) -> Exporter:
    """Import the target's module and return the function that writes the format."""
    module = import_module(f"{__package__}.targets.{name.replace('-', '_')}")
    return cast("Exporter", module.export)
