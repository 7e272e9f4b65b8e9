"""The formats that `hanclip export --to` knows, and what writes each.

A format is a module of this package with a function `export(request) -> Exported`; its name has a line in `FORMATS`.
Plain Python, so that the command line can list the formats without loading Arrow or pydantic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Literal, cast

from pipeline.phases import OnRows

if TYPE_CHECKING:
    from pipeline.curation.export.options import ExportOptions

Format = Literal["chinese-clip", "npy", "faiss", "lance", "hf", "milvus", "qdrant", "pgvector", "webdataset"]

FORMATS: dict[Format, str] = {
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


#: Formats for which an option that a user gives has a meaning; all where it is not named here.
_ONLY: dict[str, frozenset[Format]] = {
    "columns": frozenset(FORMATS) - {"chinese-clip", "faiss", "webdataset"},
    "rows_per_file": frozenset({"npy", "hf", "milvus", "qdrant", "pgvector", "webdataset"}),
    "vectors": frozenset(FORMATS) - {"webdataset"},
    "split": frozenset({"chinese-clip"}),
    "number_ids": frozenset({"chinese-clip"}),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One export.

    Attributes:
        out: the dataset.
        dest: the folder to write to.
        options: what the user chose.
        on_rows: called with the number of rows read since the last call.
    """

    out: str
    dest: str
    options: ExportOptions
    on_rows: OnRows = field(default=lambda rows: None)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        files: rows of each file, or of all files of one kind, by URI.
        left_out: rows of the dataset that are not in the export, and why.
        next: what a user may do with it.
    """

    files: dict[str, int]
    left_out: int = 0
    why: str = "which lack a vector that was asked for"
    next: str = ""

    @property
    def rows(self) -> int:
        """Rows of the largest file."""
        return max(self.files.values(), default=0)


def unused(name: Format, options: ExportOptions) -> list[str]:
    """Options that were given and that the format leaves alone."""
    return [option for option in sorted(options.model_fields_set) if name not in _ONLY.get(option, FORMATS)]


Exporter = Callable[[Request], Exported]


def exporter(name: Format) -> Exporter:
    """The function that writes a format; what it needs is loaded now."""
    module = import_module(f"{__package__}.targets.{name.replace('-', '_')}")
    return cast(Exporter, module.export)
