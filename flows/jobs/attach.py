"""Come back to a job: `ensure` finds or starts the attempt that counts, `watch` follows it to its end.

In: a backend, and what shall run. Out: a `JobStatus`. Nothing is remembered between calls: ids are derived, so the
attempts a1, a2, ... are looked up one by one, and whoever asks again gets the same job. What a job's own driver wrote
into its folder outranks what the backend believes, since clusters forget jobs and misjudge their ends.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from flows.jobs.contract import APP, JobBackend, JobSpec, JobState, JobStatus
from flows.jobs.errors import RejectedError, TransientJobError
from flows.jobs.follow import Follower, OnLog
from flows.jobs.ids import attempt_id
from flows.jobs.target import TargetConfig
from pipeline.errors import UnavailableError
from pipeline.jobs.folder import OnJobProgress, read_progress, read_summary

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: A driver whose progress file has not changed for so long is not alive. It is written every few seconds.
HEARTBEAT_S = 60.0
#: Metadata key with the job's own `timeout_s`, for whoever watches it.
TIMEOUT_KEY = "timeout_s"


def ensure(backend: JobBackend, spec: JobSpec, target: TargetConfig, after: int = 0) -> JobStatus:
    """The job that does `spec`: running already, over with success, or submitted now.

    An attempt that failed, was stopped or got lost is followed by the next one; after `target.max_attempts` of them
    the last is returned as it ended. Attempts up to number `after`, fewer than these, are known to be over; a backend
    may have forgotten one that never began.

    Raises:
        TransientJobError: the cluster was not reachable for `target.lost_after_s`; the same call may succeed later.
        JobError: it does not take the job.
    """
    status = None
    for attempt in range(after + 1, target.max_attempts + 1):
        job_id = attempt_id(spec.job_id_base, attempt)
        found = patiently(partial(look, backend, job_id, spec.out), target)
        if found is None:
            return _submitted(backend, job_id, spec, target)
        status = _given_up(backend, found, target) if _stuck(found, target) else found
        if status.state is JobState.SUCCEEDED or not status.state.over:
            break
    assert status
    return status


def watch(
    backend: JobBackend,
    job_id: str,
    out: str,
    target: TargetConfig,
    on_log: OnLog | None = None,
    on_progress: OnJobProgress | None = None,
) -> JobStatus:
    """Follow a job to its end. Stops it when it waits or runs too long, and never because the caller goes away.

    `on_log` gets new text of the driver's log: best effort, gaps are possible, repetitions are not. `on_progress` gets
    what the driver tells about itself, when that changed.

    Raises:
        TransientJobError: the cluster was not reachable for `target.lost_after_s`; the job may go on.
    """
    follower = Follower(backend, job_id, out, on_log, on_progress)
    pause_s = min(1.0, target.poll_s)
    while True:
        status = patiently(partial(look, backend, job_id, out), target) or _lost(job_id)
        follower.step()
        if status.state.over:
            return status
        if _too_long(status, target):
            return _given_up(backend, status, target)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, target.poll_s)


def look(backend: JobBackend, job_id: str, out: str) -> JobStatus | None:
    """What is true of a job; None when nobody has ever begun it.

    Pending, running and success are the backend's to say. Any other end is told by the driver's summary where there is
    one. A job that is unknown and has no summary is lost, unless its driver still writes progress.
    """
    try:
        status = backend.status(job_id)
    except TransientJobError:
        if summary := read_summary(out, job_id):
            return JobStatus(job_id, JobState.FAILED).told_by(summary)
        raise
    if status is not None and status.state in (JobState.PENDING, JobState.RUNNING, JobState.SUCCEEDED):
        return status
    if summary := read_summary(out, job_id):
        return (status or JobStatus(job_id, JobState.FAILED)).told_by(summary)
    return status or _of_progress(job_id, out)


def _of_progress(job_id: str, out: str) -> JobStatus | None:
    before = read_progress(out, job_id)
    if before is None:
        return None
    end_s = time.monotonic() + HEARTBEAT_S
    while time.monotonic() < end_s:
        time.sleep(1.0)
        if read_progress(out, job_id) != before:
            return JobStatus(job_id, JobState.RUNNING, "Its driver is alive, in another process or cluster.")
    return _lost(job_id)


def _lost(job_id: str) -> JobStatus:
    return JobStatus(
        job_id, JobState.FAILED, "The job is lost: its backend does not know it, and its driver left no summary."
    )


def _submitted(backend: JobBackend, job_id: str, spec: JobSpec, target: TargetConfig) -> JobStatus:
    timeout_s = spec.timeout_s or target.timeout_s
    limit = {TIMEOUT_KEY: f"{timeout_s:g}"} if timeout_s else {}
    whole = replace(spec, metadata={**spec.metadata, "app": APP, **limit}, timeout_s=timeout_s)
    try:
        patiently(partial(backend.submit, job_id, whole), target)
    except RejectedError:
        status = look(backend, job_id, spec.out)
        if status is None:
            raise
        return status
    status = patiently(partial(look, backend, job_id, spec.out), target)
    return status or JobStatus(job_id, JobState.PENDING, metadata=whole.metadata)


def _given_up(backend: JobBackend, status: JobStatus, target: TargetConfig) -> JobStatus:
    # A pending job may not heed the request until it begins; should it begin after all, it stops then.
    with suppress(TransientJobError):
        backend.stop(status.job_id)
    # Not STOPPED: that is what somebody else wanted. A job that was never begun is worth another attempt.
    why, timed_out = _too_long(status, target), status.state is JobState.RUNNING
    return replace(status, state=JobState.FAILED, message=why, timed_out=timed_out)


def _stuck(status: JobStatus, target: TargetConfig) -> bool:
    return status.state is JobState.PENDING and _age_s(status) > target.pending_timeout_s


def _too_long(status: JobStatus, target: TargetConfig) -> str:
    """Why a job that is not over has to be stopped; empty: it has not."""
    if _stuck(status, target):
        return (
            f"Stopped: it had not begun after {target.pending_timeout_s:g} s. See whether the cluster has room for it,"
            f" or wait longer with pending_timeout_s. It said: {status.message}"
        )
    limit_s = float(status.metadata.get(TIMEOUT_KEY) or target.timeout_s or 0)
    if status.state is JobState.RUNNING and limit_s and _age_s(status) > limit_s:
        return f"Stopped: it had run for {limit_s:g} s. What it committed stays; raise timeout_s, and run it again."
    return ""


def _age_s(status: JobStatus) -> float:
    return (datetime.now(UTC) - status.started_at).total_seconds() if status.started_at else 0.0


def patiently(call: Callable[[], T], target: TargetConfig, at_most_s: float = math.inf) -> T:
    """`call()`, repeated while nobody answers, for at most `lost_after_s`, and at most `at_most_s`."""

    def warn(state: RetryCallState) -> None:
        logger.warning("%s Trying again.", state.outcome.exception() if state.outcome else "")

    retrying = Retrying(
        retry=retry_if_exception_type((TransientJobError, UnavailableError)),
        wait=wait_exponential(1.0, max=target.poll_s),
        stop=stop_after_delay(min(target.lost_after_s, at_most_s)),
        before_sleep=warn,
        reraise=True,
    )
    return retrying(call)
