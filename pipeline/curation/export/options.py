"""The options of `hanclip export`. Parsed here once and trusted inside."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.validation import Options


class ExportOptions(Options):
    """The options of all formats; each has a use for some of them, see `unused`."""

    vectors: Literal["image", "text", "both"] | None = Field(
        default=None, description="Which vectors; if not given, those of images, or of texts if there are no images."
    )
    columns: tuple[str, ...] | None = Field(default=None, description="Other columns to write; all unless named.")
    rows_per_file: int = Field(default=262_144, ge=1, description="Rows of a file, where a format has several.")
    split: str = Field(
        default="valid", pattern=r"^\w[\w.-]*$", description="chinese-clip: the first part of the files' names."
    )
    number_ids: bool = Field(
        default=False, description="chinese-clip: number the rows, and write which number is which id."
    )
