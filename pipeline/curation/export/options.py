"""The options of `hanclip export`. Parsed here once and trusted inside."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from pipeline.curation.tars.options import IMAGE_NAME_HELP
from pipeline.validation import Options
from pipeline.vocabulary import ImageName


class ExportOptions(Options):
    """The options of all formats; each has a use for some of them, see `unused`."""

    vectors: Literal["image", "text", "both"] | None = Field(
        default=None, description="Which vectors; if not given, those of images, or of texts if there are no images."
    )
    columns: tuple[str, ...] | None = Field(default=None, description="Other columns to write; all unless named.")
    rename: tuple[str, ...] = Field(
        default=(),
        description="Another name for a column of the source, as OLD=NEW: for names that the consumer refuses.",
    )
    rows_per_file: int = Field(default=262_144, ge=1, description="Rows of a file, where a format has several.")
    images: bool = Field(
        default=False, description="hf: also write the original images, as encoded bytes in a column `image`."
    )
    image_name: ImageName | None = Field(default=None, description="webdataset: " + IMAGE_NAME_HELP)
    split: str = Field(
        default="valid", pattern=r"^\w[\w.-]*$", description="chinese-clip: the first part of the files' names."
    )
    number_ids: bool = Field(
        default=False, description="chinese-clip: number the rows, and write which number is which id."
    )

    @field_validator("rename")
    @classmethod
    def _pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [pair for pair in value if not all(pair.rpartition("="))]:
            raise ValueError(f"give OLD=NEW, not {wrong[0]!r}")
        return value

    @property
    def new_names(self) -> dict[str, str]:
        """The new name of each column that is renamed. A name may have `=` in it, a new one may not."""
        return {old: new for old, _, new in (pair.rpartition("=") for pair in self.rename)}
