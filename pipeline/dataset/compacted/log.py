"""The log of compactions: the newest entry states which files in `embeddings/` do not count.

    OUT/_compactions/00000007.json

A compaction rewrites small files as full ones. Several objects cannot be replaced at once, so both are there for a
while, and one entry, created in one request, says which of them count:

    writing     the names of new files are reserved: they do not count yet
    switched    the new files count, those that they replace do not
    cleaned     replaced files of an earlier switch were deleted, after a grace period
    abandoned   the dataset changed before the switch: the new files never count

A replaced name stays hidden, also when its file is deleted: a driver that planned it before may commit it once more.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline import storage
from pipeline.dataset import layout
from pipeline.storage import NumberedLog

CompactionState = Literal["writing", "switched", "cleaned", "abandoned"]


class Replaced(BaseModel):
    """The shards that one switch replaced, whose files are not deleted yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime = Field(description="When they were replaced, UTC.")
    shards: tuple[str, ...] = Field(description="Their ids.")


class CompactionEntry(BaseModel):
    """The state of all compactions of a dataset after one step of the newest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    compaction: str = Field(description="Name of the newest compaction; its plan is in _compactions/<name>/.")
    state: CompactionState = Field(description="What its last step was.")
    at: datetime = Field(description="When this entry was made, UTC.")
    hidden: tuple[str, ...] = Field(default=(), description="Ids of all shards whose files do not count.")
    writing: tuple[str, ...] = Field(default=(), description="Of these, shards that are being written.")
    abandoned: tuple[str, ...] = Field(default=(), description="Of these, shards that were written in vain.")
    waiting: tuple[Replaced, ...] = Field(default=(), description="Of these, replaced ones that still have files.")
    added: tuple[str, ...] = Field(default=(), description="Shards that compactions wrote and that count.")
    lossy: bool = Field(default=False, description="Whether superseded rows were left out, now or earlier.")

    @property
    def replaced(self) -> frozenset[str]:
        """Ids of shards that were committed and do not count any more."""
        return frozenset(self.hidden) - frozenset(self.writing) - frozenset(self.abandoned)


def compactions(out: str) -> NumberedLog[CompactionEntry]:
    """The log of the dataset at `out`."""
    cure = "restore the file from a copy: without it, rows count twice."
    return NumberedLog(storage.join(out, layout.COMPACTIONS), CompactionEntry, cure)
