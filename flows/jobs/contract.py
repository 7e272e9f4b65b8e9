"""The contract of job backends: a specification, a status, and five calls.

In: `JobSpec`, what to run. Out: `JobStatus`. All five calls are idempotent, so a caller repeats a call whose response
got lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from pipeline.jobs.job import JobRun, JobSummary
from pipeline.jobs.steps import Step

#: Value of the metadata key `app` of every job that hanclip submits.
APP = "hanclip"


class JobState(StrEnum):
    """The state of a job. A job that its backend lost is FAILED, with a message to that effect."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"

    @property
    def over(self) -> bool:
        """No further state follows."""
        return self not in (JobState.PENDING, JobState.RUNNING)


#: No summary should contain `running`; a driver that left one did not finish.
_ENDED = {
    "complete": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
    "stopped": JobState.STOPPED,
    "running": JobState.FAILED,
}


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The status of one job; times are UTC.

    Attributes:
        exit_code: of the driver. SUCCEEDED with 3: the job is complete, but too many records are in quarantine.
        started_at: while the job is PENDING, when it was submitted.
        url: its web page.
        timed_out: it was stopped because it ran for longer than `timeout_s`; no further attempt follows.
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

    def ended_by(self, summary: JobSummary) -> JobStatus:
        """The same job with the end that its driver's summary reports."""
        state = _ENDED[summary.state]
        return replace(
            self, state=state, message=summary.message, exit_code=summary.exit_code, timed_out=summary.timed_out
        )


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What to run, the same for each attempt: `job_id_base` and the attempt's number make the job's id.

    `out` contains the job folder; `timeout_s` counts from the start and overrides the target's. `steps` follow `runs`;
    `needs_evidence` is as in `Job`.
    """

    job_id_base: str
    out: str
    runs: tuple[JobRun, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    steps: tuple[Step, ...] = ()
    needs_evidence: bool = False


class JobBackend(Protocol):
    """Runs jobs. Every call has a timeout and raises `flows.jobs.errors.JobError` when it fails."""

    def submit(self, job_id: str, spec: JobSpec) -> None:
        """Write the job folder's `job.json` and start the job; an existing job is left unchanged."""

    def status(self, job_id: str) -> JobStatus | None:
        """The backend's view of a job; None if it does not know the job, or has forgotten it."""

    def logs(self, job_id: str, offset: int) -> tuple[str, int]:
        """The driver's log from `offset` on, and the next offset; empty text if there is nothing new."""

    def stop(self, job_id: str) -> None:
        """Stop a job and wait until it is over; does nothing if it is over or unknown."""

    def find(self, **metadata: str) -> list[JobStatus]:
        """Jobs with all of `metadata`, newest first."""
