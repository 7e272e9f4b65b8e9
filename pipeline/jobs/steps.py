"""The steps of a job: commands over a dataset after its runs, or instead of runs, with their settings.

They are part of `job.json`, so they import nothing heavy and refuse credentials.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.compaction.settings import CompactSettings
from pipeline.credentials import refuse_credentials
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.filter.settings import FilterSettings
from pipeline.curation.sync.settings import SyncSettings
from pipeline.validation import Options


class _OverDataset(Options):
    out: str = Field(min_length=1, description="Folder of the dataset; local path or URL.")

    @field_validator("out")
    @classmethod
    def _without_credentials(cls, uri: str) -> str:
        return refuse_credentials(uri)


class CompactStep(_OverDataset):
    """`hanclip compact OUT`: rewrite small files as full ones, in place."""

    kind: Literal["compact"] = "compact"
    settings: CompactSettings = Field(default=CompactSettings(), description="Which files are rewritten, and when.")


class DedupStep(_OverDataset):
    """`hanclip dedup`: write the table of duplicates."""

    kind: Literal["dedup"] = "dedup"
    settings: DedupSettings = Field(default=DedupSettings(), description="What counts as a duplicate.")


class FilterStep(_OverDataset):
    """`hanclip filter`: keep the rows that pass every rule."""

    kind: Literal["filter"] = "filter"
    settings: FilterSettings = Field(description="Which rows are kept, and what is written of them.")


class SyncStep(_OverDataset):
    """`hanclip sync`: bring a vector database to the latest state."""

    kind: Literal["sync"] = "sync"
    settings: SyncSettings = Field(description="Which database holds which rows and columns.")


Step = Annotated[CompactStep | DedupStep | FilterStep | SyncStep, Field(discriminator="kind")]
