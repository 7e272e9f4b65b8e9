"""The log of plans: numbered entries, each created under a name that can be taken only once.

    OUT/_plans/00000007.json    {run_id, run_date, kind, created_at, open_runs}

A run reads the newest entry, then the committed shards, and plans. When its plan is stored it takes the next number; if
that is taken, another run planned in between, and this one reads the new entries before it tries again. So every plan
that is carried out knows all plans before it. An entry also names the older runs that had uncommitted shards when it
was made, so older entries are never needed: the shards of all other runs were committed. Planning costs the same after
ten years of nightly runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from itertools import count
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline import storage
from pipeline.dataset import layout
from pipeline.errors import NotFoundError, RunError
from pipeline.validation import validated

PlanKind = Literal["full", "retry"]

_NAME = re.compile(r"/(\d{8})\.json$")


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


def newest(out: str) -> tuple[int, LogEntry | None]:
    """Number and content of the newest entry of the dataset at `out`; -1 and None if nothing was planned yet.

    Raises:
        RunError: it is damaged or from a newer hanclip.
    """
    names = [_NAME.search(info.uri) for info in layout.objects(out, layout.PLANS)]
    number = max((int(match[1]) for match in names if match), default=-1)
    return number, None if number < 0 else _read(out, number)


def later(out: str, number: int) -> Iterator[LogEntry]:
    """All entries after `number`, in order. Raises RunError as `newest` does."""
    with suppress(NotFoundError):
        for following in count(number + 1):
            yield _read(out, following)


def append(out: str, number: int, entry: LogEntry) -> None:
    """Create entry `number`. Raises AlreadyExistsError when another run has taken the number."""
    storage.create(_uri(out, number), entry.model_dump_json().encode())


def _read(out: str, number: int) -> LogEntry:
    uri = _uri(out, number)
    return validated(
        LogEntry,
        storage.read_bytes(uri),
        f"{uri} is damaged or written by a newer hanclip",
        cure="Upgrade hanclip; if that does not help, delete the file while no run is active.",
        error=RunError,
    )


def _uri(out: str, number: int) -> str:
    return storage.join(out, layout.PLANS, f"{number:08d}.json")
