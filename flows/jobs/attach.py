"""Attaches to a job: `ensure` finds or starts the current attempt, `watch` follows it to its end.

In: a backend, and a job's specification. Out: a `JobStatus`. No state is kept between calls: ids are derived, so the
attempts a1, a2, ... are looked up one by one, and the same call finds the same job again. What a job's driver wrote
into its folder outranks the backend's view, since clusters forget jobs and misreport how they ended.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from flows.jobs.contract import APP, JobBackend, JobSpec, JobState, JobStatus
from flows.jobs.errors import RejectedError, TransientJobError
from flows.jobs.follow import Follower, OnLog
from flows.jobs.ids import attempt_id
from flows.jobs.target import TargetConfig
from flows.jobs.unchanged import Unchanged
from pipeline.errors import UnavailableError
from pipeline.jobs.folder import read_progress, read_summary
from pipeline.jobs.job import OnJobProgress, timeout_message

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: A driver is treated as dead when its progress file is this stale; it is written every few seconds.
HEARTBEAT_S = 60.0
#: Metadata key with the job's own `timeout_s`, for its watchers.
TIMEOUT_KEY = "timeout_s"


def ensure(backend: JobBackend, spec: JobSpec, target: TargetConfig, after: int = 0) -> JobStatus:
    """The job for `spec`: one that runs or has succeeded, else one submitted now.

    An attempt that failed, was stopped or got lost is followed by the next; after `target.max_attempts` the last one is
    returned. Attempts up to number `after` (less than `max_attempts`) are known to be over and skipped, since a backend
    may have forgotten an attempt that never started.

    Raises:
        TransientJobError: the cluster was unreachable for `target.lost_after_s`; the same call may succeed later.
        JobError: the cluster rejects the job.
    """
    status = None
    for attempt in range(after + 1, target.max_attempts + 1):
        job_id = attempt_id(spec.job_id_base, attempt)
        found = with_retries(partial(inspect, backend, job_id, spec.out), target)
        if found is None:
            return _submitted(backend, job_id, spec, target)
        status = found
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
    """Follow a job to its end. Stops it if it is pending or runs for too long, and never because the caller leaves.

    Both are measured from when this call first observed the state, by this machine's clock.

    `on_log` gets new text of the driver's log, best effort: text may be missing but is never repeated. `on_progress`
    gets the driver's progress whenever it changed.

    Raises:
        TransientJobError: the cluster was unreachable for `target.lost_after_s`; the job may still run.
    """
    follower, state = Follower(backend, job_id, out, on_log, on_progress), Unchanged()
    pause_s = min(1.0, target.poll_s)
    while True:
        status = with_retries(partial(inspect, backend, job_id, out), target) or _lost(job_id)
        follower.step()
        if status.state.over:
            return status
        if reason := _overdue(status, target, state.seconds(status.state)):
            return _stop_overdue(backend, status, reason)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, target.poll_s)


def inspect(backend: JobBackend, job_id: str, out: str) -> JobStatus | None:
    """The status of a job from its backend and its folder; None when it was never started.

    The backend decides on pending, running and succeeded; any other end comes from the driver's summary if it exists.
    An unknown job without a summary is lost, unless its driver still writes progress.
    """
    try:
        status = backend.status(job_id)
    except TransientJobError:
        if summary := read_summary(out, job_id):
            return JobStatus(job_id, JobState.FAILED).ended_by(summary)
        raise
    if status is not None and status.state in (JobState.PENDING, JobState.RUNNING, JobState.SUCCEEDED):
        return status
    if summary := read_summary(out, job_id):
        return (status or JobStatus(job_id, JobState.FAILED)).ended_by(summary)
    return status or _from_progress(job_id, out)


def _from_progress(job_id: str, out: str) -> JobStatus | None:
    before = read_progress(out, job_id)
    if before is None:
        return None
    end_s = time.monotonic() + HEARTBEAT_S
    while time.monotonic() < end_s:
        time.sleep(1.0)
        if read_progress(out, job_id) != before:
            return JobStatus(job_id, JobState.RUNNING, "Its driver is alive in another process or cluster.")
    return _lost(job_id)


def _lost(job_id: str) -> JobStatus:
    return JobStatus(
        job_id, JobState.FAILED, "The job is lost: its backend does not know it and its driver left no summary."
    )


def _submitted(backend: JobBackend, job_id: str, spec: JobSpec, target: TargetConfig) -> JobStatus:
    timeout_s = spec.timeout_s or target.timeout_s
    limit = {TIMEOUT_KEY: f"{timeout_s:g}"} if timeout_s else {}
    complete = replace(spec, metadata={**spec.metadata, "app": APP, **limit}, timeout_s=timeout_s)
    try:
        with_retries(partial(backend.submit, job_id, complete), target)
    except RejectedError:
        status = inspect(backend, job_id, spec.out)
        if status is None:
            raise
        return status
    status = with_retries(partial(inspect, backend, job_id, spec.out), target)
    return status or JobStatus(job_id, JobState.PENDING, metadata=complete.metadata)


def _stop_overdue(backend: JobBackend, status: JobStatus, reason: str) -> JobStatus:
    # A pending job may see the request only when it starts; it stops then.
    with suppress(TransientJobError):
        backend.stop(status.job_id)
    # Not STOPPED, which means that a user stopped it. A job that never started is worth another attempt.
    return replace(status, state=JobState.FAILED, message=reason, timed_out=status.state is JobState.RUNNING)


def _overdue(status: JobStatus, target: TargetConfig, observed_s: float) -> str:
    """Why a job must be stopped that was in its state for `observed_s`; empty if it need not be.

    A running job enforces its own limit; one that has not by `stop_wait_s` later hangs.
    """
    if status.state is JobState.PENDING and observed_s > target.pending_timeout_s:
        return (
            f"Stopped: it was still pending after {target.pending_timeout_s:g} s. Check that the cluster has room for"
            f" it, or raise pending_timeout_s. Last message: {status.message}"
        )
    limit_s = float(status.metadata.get(TIMEOUT_KEY) or target.timeout_s or 0)
    if status.state is JobState.RUNNING and limit_s and observed_s > limit_s + target.stop_wait_s:
        return timeout_message(limit_s)
    return ""


def with_retries(call: Callable[[], T], target: TargetConfig, at_most_s: float = math.inf) -> T:
    """`call()`, retried while the cluster is unreachable, for `lost_after_s` or `at_most_s`, whichever is less."""

    def warn(state: RetryCallState) -> None:
        logger.warning("%s Retrying.", state.outcome.exception() if state.outcome else "")

    retrying = Retrying(
        retry=retry_if_exception_type((TransientJobError, UnavailableError)),
        wait=wait_exponential(1.0, max=target.poll_s),
        stop=stop_after_delay(min(target.lost_after_s, at_most_s)),
        before_sleep=warn,
        reraise=True,
    )
    return retrying(call)
