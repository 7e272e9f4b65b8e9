"""Lists the formats of `hanclip export --to` and loads the target module that writes one.

To add a format, add a module to `targets` (see `contract`), and its name and its entry below.
Only the standard library is imported here, so that `--help` can list the formats without Arrow or pydantic.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

if TYPE_CHECKING:
    from pipeline.curation.export.contract import Exporter
    from pipeline.curation.export.options import ExportOptions
    from pipeline.curation.values.names import NameRules

ExportFormat = Literal["chinese-clip", "npy", "faiss", "lance", "hf", "milvus", "qdrant", "pgvector", "webdataset"]


class Format(NamedTuple):
    """One format.

    Attributes:
        help: what it writes, for the help of `--to`.
        options: the fields of `ExportOptions` that it supports.
    """

    help: str
    options: frozenset[str]


_VECTORS, _COLUMNS, _PARTS = frozenset({"vectors"}), frozenset({"columns", "rename"}), frozenset({"rows_per_file"})

FORMATS: dict[ExportFormat, Format] = {
    "chinese-clip": Format(
        "img_feat.jsonl, txt_feat.jsonl and texts.jsonl, as the authors' evaluation reads them",
        _VECTORS | {"split", "number_ids"},
    ),
    "npy": Format(
        "matrices beside Parquet metadata, as clip-retrieval and embedding-reader lay them out",
        _VECTORS | _COLUMNS | _PARTS,
    ),
    "faiss": Format("an exact index, and the id at each position", _VECTORS),
    "lance": Format("a LanceDB table", _VECTORS | _COLUMNS),
    "hf": Format("a folder for Hugging Face datasets", _VECTORS | _COLUMNS | _PARTS | {"images"}),
    "milvus": Format("Parquet for its bulk import, and the collection's schema", _VECTORS | _COLUMNS | _PARTS),
    "qdrant": Format("points as JSON lines, and the collection", _VECTORS | _COLUMNS | _PARTS),
    "pgvector": Format("files for COPY, and the script that loads them", _VECTORS | _COLUMNS | _PARTS),
    "webdataset": Format("tars of the images as they were, with texts and columns", _PARTS | {"image_name"}),
}


def unused(name: ExportFormat, options: ExportOptions) -> list[str]:
    """The options that were given but that the format does not support."""
    return sorted(options.model_fields_set - FORMATS[name].options)


def exporter(name: ExportFormat) -> Exporter:
    """Import the target's module and return the function that writes the format."""
    return cast("Exporter", _module(name).export)


def name_rules(name: ExportFormat) -> NameRules | None:
    """What the consumer takes as names of columns; None for a format without columns."""
    return getattr(_module(name), "NAMES", None)


def _module(name: ExportFormat) -> ModuleType:
    return import_module(f"{__package__}.targets.{name.replace('-', '_')}")
