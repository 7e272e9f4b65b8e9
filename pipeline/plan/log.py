"""The log of plans: numbered entries, each created under a name that can be taken only once.

    OUT/_plans/00000007.json    {run_id, run_date, kind, created_at, open_runs}

A run reads the newest entry, then the committed shards, and plans. When its plan is stored it takes the next number; if
that is taken, another run planned in between, and this one reads the new entries before it tries again. So every plan
that is carried out knows all plans before it. An entry also names the older runs that had uncommitted shards when it
was made, so older entries are never needed: the shards of all other runs were committed. Planning costs the same after
ten years of nightly runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline import storage
from pipeline.dataset import layout
from pipeline.storage import NumberedLog

PlanKind = Literal["full", "retry"]


class LogEntry(BaseModel):
    """One plan that may be carried out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str = Field(description="The run that made the plan and holds it in its folder.")
    run_date: str = Field(description="Partition of the shards that this plan cut, YYYY-MM-DD.")
    kind: PlanKind = Field(description='"full", or "retry" for a selection of quarantined records.')
    created_at: datetime = Field(description="When the entry was created, UTC.")
    open_runs: tuple[str, ...] = Field(
        description="Earlier runs, oldest first, with planned shards that are neither committed nor in a later plan."
    )


def of(out: str) -> NumberedLog[LogEntry]:
    """The log of the dataset at `out`."""
    return NumberedLog(storage.join(out, layout.PLANS), LogEntry, "delete the file while no run is active.")


def newest(out: str) -> tuple[int, LogEntry | None]:
    """Number and content of the newest entry; -1 and None if nothing was planned yet. Raises RunError."""
    return of(out).newest()


def later(out: str, number: int) -> Iterator[LogEntry]:
    """All entries after `number`, in order. Raises RunError."""
    return of(out).later(number)


def append(out: str, number: int, entry: LogEntry) -> None:
    """Create entry `number`. Raises AlreadyExistsError when another run has taken the number."""
    of(out).append(number, entry)
