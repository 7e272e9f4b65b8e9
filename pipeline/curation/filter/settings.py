"""The settings of `hanclip filter`, its flow and its job. Parsed here once and trusted inside."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from pipeline.credentials import refuse_credentials
from pipeline.curation.computed import COMPUTED
from pipeline.curation.tars.options import IMAGE_NAME_HELP
from pipeline.errors import ConfigError
from pipeline.validation import Options
from pipeline.vocabulary import Form, ImageName

_NAME = re.compile(r"[\w-]+")


class NamedRule(Options):
    """One rule of several. A list keeps their order: a dropped row counts for the first rule that drops it."""

    name: str = Field(description="Name of the rule in the counts and in the table of dropped rows.")
    sql: str = Field(description="Condition on a row's columns that is true for rows to keep.")


class FilterSettings(Options):
    """Which rows to keep, and what to write of them."""

    where: str | None = Field(
        default=None,
        description="Condition on a row's columns, in DuckDB's SQL, that is true for rows to keep. Columns that "
        f"are not stored: {', '.join(column.name for column in COMPUTED)}.",
    )
    rules: tuple[NamedRule, ...] = Field(
        default=(), description="Named conditions (on the command line a YAML file); a row must pass all."
    )
    ids: str | None = Field(
        default=None,
        description="Keep only the rows with these ids: a file, path or URL, with one id in each line, such as those "
        "picked in a report, or CSV or Parquet with the column id.",
    )
    threshold_for: str | None = Field(
        default=None,
        description="Find a cut-off: 'keep=30%' of the highest similarities, 'COLUMN keep=30%', or 'COLUMN keep=30% "
        "lowest'. Of chance, image_blank_rows, image_dark, image_light and image_border the lowest are kept.",
    )
    time_limit_s: float = Field(
        default=600, gt=0, description="End with an error if evaluating the rules takes longer than this."
    )
    form: Form = Field(default=Form.IDS, description="What to write of the kept rows.")
    dest: str | None = Field(
        default=None, description="Where the kept rows go; ids go to OUT/filter/NAME if not given."
    )
    name: str = Field(default="default", description="Names the tables of this filter.")
    tar_rows: int = Field(default=10_000, ge=1, description="Rows of a tar.")
    tar_bytes: int | None = Field(default=None, ge=1, description="A tar is also full at this many bytes.")
    image_name: ImageName | None = Field(default=None, description="tars: " + IMAGE_NAME_HELP)

    def check(self, out: str) -> None:
        """Raise ConfigError for settings that contradict each other or the dataset at `out`."""
        if not (self.where or self.rules or self.ids or self.threshold_for):
            raise ConfigError(
                "No rule was given: write --where 'similarity >= 0.28', --rules FILE, --ids FILE or --threshold-for; "
                "in a flow settings.where, settings.rules, settings.ids or settings.threshold_for."
            )
        if self.form != Form.IDS and not self.dest:
            raise ConfigError(f"--as {self.form} needs a folder: write hanclip filter OUT DEST --as {self.form}.")
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"{self.name!r} is not a name for a filter: use letters, digits, - and _.")
        if self.form != Form.IDS and self.dest and _overlap(out, self.dest):
            raise ConfigError(f"{self.dest} contains the dataset {out} or lies inside it: choose another DEST.")
        if self.form == Form.IDS and self.dest and _among_its_files(out, self.dest):
            raise ConfigError(
                f"{self.dest} is among the files of the dataset {out}: leave DEST out, or choose another."
            )

    @field_validator("dest", "ids")
    @classmethod
    def _without_credentials(cls, uri: str | None) -> str | None:
        return uri and refuse_credentials(uri)


def _among_its_files(out: str, dest: str) -> bool:
    """Whether `dest` lies in the dataset, but not where a filter writes."""
    from pipeline.storage import is_inside, join  # keeps --help light

    return is_inside(dest, out) and not is_inside(dest, join(out, "filter"))


def _overlap(out: str, dest: str) -> bool:
    """Whether one folder lies in the other."""
    from pipeline.storage import is_inside  # keeps --help light

    return is_inside(dest, out) or is_inside(out, dest)
