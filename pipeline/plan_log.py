"""The log of plans: numbered entries, each created under a name that can be taken once.

    OUT/_plans/00000007.json    {run_id, run_date, kind, created_at, open_runs}

A run plans knowing the newest entry. When its plan is stored it takes the next number; if that is taken, somebody
planned in between, and it looks again before it tries the one after. So every plan that is carried out knows all plans
before it. An entry also names the older runs that still have uncommitted shards, which makes the newest one enough:
planning costs the same after ten years of nightly runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline import layout, storage
from pipeline.errors import RunError

Kind = Literal["full", "retry"]

_NAME = re.compile(r"/(\d{8})\.json$")


class Entry(BaseModel):
    """One plan that may be carried out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str = Field(description="The run whose plan it is; the plan lies in its folder.")
    run_date: str = Field(description="Partition of the shards that the plan cut itself, YYYY-MM-DD.")
    kind: Kind = Field(description='"full", or "retry" for a selection of quarantined records.')
    created_at: datetime = Field(description="When the number was taken, UTC.")
    open_runs: tuple[str, ...] = Field(
        description="Earlier runs, oldest first, with planned shards that were not committed and that no later run has."
    )


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest entry and its number; -1 and None where nothing was planned yet."""

    number: int
    entry: Entry | None


def newest(out: str) -> Newest:
    """The newest entry of the dataset at `out`. Raises RunError when it is damaged or of a newer hanclip."""
    found = [
        (int(match[1]), info.uri) for info in layout.objects(out, layout.PLANS) if (match := _NAME.search(info.uri))
    ]
    if not found:
        return Newest(-1, None)
    number, uri = max(found)
    try:
        return Newest(number, Entry.model_validate_json(storage.read_bytes(uri)))
    except ValidationError as error:
        raise RunError(
            f"{uri} is damaged or written by a newer hanclip ({error.error_count()} faults): upgrade hanclip; if that "
            "does not help, delete the file while no run is alive."
        ) from error


def append(out: str, number: int, entry: Entry) -> None:
    """Take `number` for `entry`. Raises AlreadyExistsError when somebody else has it."""
    storage.create(storage.join(out, layout.PLANS, f"{number:08d}.json"), entry.model_dump_json().encode())
