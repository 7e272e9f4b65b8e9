"""What a job is to a caller: a state, a specification, and the five calls that every backend answers.

In: `JobSpec`, what shall run. Out: `JobStatus`, what is known of it. All five calls are idempotent, so a caller that
does not know whether its last call arrived makes it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # It brings the storage clients, and `hanclip --help` reads the target's fields.
    from pipeline.jobs.folder import JobRun, JobSummary
    from pipeline.jobs.steps import Step

#: Value of the metadata key `app` of every job that hanclip submits.
APP = "hanclip"


class JobState(StrEnum):
    """Where a job stands. A job that its backend lost is FAILED, with a message that says so."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"

    @property
    def over(self) -> bool:
        """No further state follows."""
        return self not in (JobState.PENDING, JobState.RUNNING)


#: A driver says `running` in no summary; should one do so, it did not come to its end.
_ENDED = {
    "complete": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
    "stopped": JobState.STOPPED,
    "running": JobState.FAILED,
}


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job as its backend sees it; times are UTC.

    Attributes:
        exit_code: of the driver. 3 goes with SUCCEEDED when the job is complete, and too much is in quarantine.
        started_at: while the job is PENDING, when it was submitted.
        url: a page for people.
        timed_out: it was stopped because it ran for longer than `timeout_s`; no further attempt is to follow.
    """

    job_id: str
    state: JobState
    message: str = ""
    exit_code: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    url: str | None = None
    timed_out: bool = False

    def told_by(self, summary: JobSummary) -> JobStatus:
        """The same job, ended as its own driver says."""
        state = _ENDED[summary.state]
        return replace(self, state=state, message=summary.message, exit_code=summary.exit_code)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What shall run, whichever the attempt: `job_id_base` and the attempt's number are the job's id.

    `out` holds the job folder; `timeout_s` counts from the start and overrules the target's. `steps` follow `runs`.
    """

    job_id_base: str
    out: str
    runs: tuple[JobRun, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    steps: tuple[Step, ...] = ()


class JobBackend(Protocol):
    """Something that runs jobs. Every call raises `flows.jobs.errors.JobError` and returns within a deadline."""

    def submit(self, job_id: str, spec: JobSpec) -> None:
        """Write the job folder's `job.json` and start the job; one that is already there is left as it is."""

    def status(self, job_id: str) -> JobStatus | None:
        """What is known of a job; None: the backend has never heard of it, or has forgotten it."""

    def logs(self, job_id: str, offset: int) -> tuple[str, int]:
        """The driver's log from `offset` on, and the offset to ask from next time. Nothing there: no text."""

    def stop(self, job_id: str) -> None:
        """Stop a job and wait until it is over; no such job, or over already: nothing to do."""

    def find(self, **metadata: str) -> list[JobStatus]:
        """Jobs that carry all of `metadata`, the newest first."""
