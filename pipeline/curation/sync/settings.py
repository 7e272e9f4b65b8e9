"""The settings of `hanclip sync`, its flow and its job. Parsed here once and trusted inside."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from pipeline.credentials import refuse_credentials
from pipeline.curation.sync.registry import DATABASES, Database
from pipeline.errors import ConfigError
from pipeline.validation import AutoOrNumber, Options

#: What to do about a column that a database refuses.
CURE = "Choose the columns to send with --column."
#: The collection in which all others have their watermarks.
MARKS = "hanclip_sync"


class SyncSettings(Options):
    """Which database holds which rows and columns of a dataset."""

    to: Database = Field(description="The database.")
    dest: str = Field(description="Where it is: a URL, or a local path; credentials come from the environment.")
    collection: str = Field(
        default="hanclip",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        max_length=63,
        description="Name of the collection or table. It is made if it does not exist, and belongs to the sync.",
    )
    vectors: Literal["image", "text", "both"] | None = Field(
        default=None, description="Which vectors; if not given, those of images, or of texts if there are no images."
    )
    columns: tuple[str, ...] | None = Field(
        default=None, description="Other columns to send, with id and source_fingerprint; all unless named."
    )
    where: str | None = Field(
        default=None,
        description="Hold only rows for which this is true, such as keep: a condition as in `hanclip filter --where`.",
    )
    time_limit_s: float = Field(
        default=600, gt=0, description="End with an error if evaluating --where takes longer than this."
    )
    full: bool = Field(
        default=False,
        description="Compare every id with the database, whatever its watermark says; also moves a collection to "
        "another dataset of the same model.",
    )
    batch_rows: AutoOrNumber = Field(default="auto", description="Rows of a request; auto fits the database.")

    def check(self, out: str) -> None:
        """Raise ConfigError if the database would lie among the files of the dataset at `out`."""
        from pipeline.storage import is_inside  # keeps --help light

        if is_inside(self.dest, out):
            raise ConfigError(f"{self.dest} is inside the dataset {out}: choose a DEST outside of it.")

    @property
    def rows_at_once(self) -> int:
        """Rows of a request."""
        return DATABASES[self.to].batch_rows if self.batch_rows in ("auto", None) else int(self.batch_rows)

    @field_validator("dest")
    @classmethod
    def _without_credentials(cls, uri: str) -> str:
        return refuse_credentials(uri)

    @field_validator("collection")
    @classmethod
    def _not_the_marks(cls, name: str) -> str:
        if name.lower() == MARKS:
            raise ValueError(f"{MARKS} holds the watermarks of all collections: choose another name")
        return name
