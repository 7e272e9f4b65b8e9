"""Events that the lanes of a backfill send to its own thread. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flows.jobs.contract import JobStatus
from pipeline.jobs.job import JobProgress
from pipeline.partitions.manifests import PartitionState


@dataclass(frozen=True, slots=True)
class PartitionOutcome:
    """How a job ended for a partition; `state` is the manifest it wrote, None if it wrote none."""

    key: str
    status: Literal["done", "empty", "failed", "stopped"]
    exit_code: int
    message: str = ""
    state: PartitionState | None = None


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A job was submitted for these partitions, or found running."""

    status: JobStatus
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobAdvanced:
    """A job made progress; `running` is the partition it works on."""

    job_id: str
    progress: JobProgress
    running: str | None
    outcomes: tuple[PartitionOutcome, ...]


@dataclass(frozen=True, slots=True)
class JobLogged:
    """A job's log grew."""

    job_id: str
    text: str


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job is over."""

    status: JobStatus
    outcomes: tuple[PartitionOutcome, ...]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """No further job will run these partitions."""

    keys: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class StopFailed:
    """A job could not be stopped."""

    job_id: str
    message: str


Event = JobStarted | JobAdvanced | JobLogged | JobEnded | GivenUp | StopFailed
