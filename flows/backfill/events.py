"""What the lanes of a backfill tell its own thread. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flows.jobs.contract import JobStatus
from pipeline.jobs.folder import JobProgress
from pipeline.partitions.template import PartitionState


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job made of a partition; `state` is the manifest it left, None where it did not come so far."""

    key: str
    status: Literal["done", "empty", "failed", "stopped"]
    exit_code: int
    message: str = ""
    state: PartitionState | None = None


@dataclass(frozen=True, slots=True)
class Began:
    """A job was submitted, or found running, for these partitions."""

    status: JobStatus
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Advanced:
    """A job told how far it is; `running` is the partition it works on."""

    job_id: str
    progress: JobProgress
    running: str | None
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Logged:
    """A job's log grew."""

    job_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A job is over."""

    status: JobStatus
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """These partitions will have no outcome."""

    keys: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class NotStopped:
    """A job could not be told to stop."""

    job_id: str
    message: str


Event = Began | Advanced | Logged | Ended | GivenUp | NotStopped
