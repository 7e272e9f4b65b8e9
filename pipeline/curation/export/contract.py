"""The contract of an export target: a function `export(request: ExportRequest) -> Exported`.

A target with columns also has `NAMES`, the `NameRules` of its consumer; they are checked before anything is written.

In: an `ExportRequest`. Out: an `Exported`. Targets import this module; `registry` lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.curation.export.options import ExportOptions
from pipeline.phases import OnRows


@dataclass(frozen=True, slots=True)
class ExportRequest:
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
        files: number of rows by URI of a file, or of a set of files of one kind.
        left_out: rows of the dataset that are not in the export.
        why: the reason, as a relative clause.
        next: how to load the export.
        missing_images: rows in the export whose original image could not be read.
    """

    files: dict[str, int]
    left_out: int = 0
    why: str = "which lack a vector that was asked for"
    next: str = ""
    missing_images: int = 0

    @property
    def rows(self) -> int:
        """Rows of the largest file."""
        return max(self.files.values(), default=0)


Exporter = Callable[[ExportRequest], Exported]
