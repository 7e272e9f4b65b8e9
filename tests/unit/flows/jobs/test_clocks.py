"""Durations are measured by observation: the clock of the cluster may be hours off, and nothing depends on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.jobs.attach import TIMEOUT_KEY, ensure, watch
from flows.jobs.contract import JobSpec, JobState, JobStatus
from flows.jobs.target import TargetConfig
from flows.jobs.unchanged import Unchanged
from pipeline.config import RunConfig
from pipeline.jobs.job import JobRun

LIMIT_S = 0.3
TARGET = TargetConfig(backend="ray", address="http://head:8265", poll_s=0.02, stop_wait_s=0, pending_timeout_s=LIMIT_S)
#: What the clock of the cluster is ahead of the one here; None for a backend that reports no times.
SKEWS = [timedelta(hours=-2), timedelta(0), timedelta(hours=2), timedelta(days=-400), None]


@dataclass
class OtherClock:
    """A cluster with one job, whose state changes as `states` says, by the number of the poll that sees it first."""

    states: dict[int, JobState]
    skew: timedelta | None
    metadata: dict[str, str] = field(default_factory=dict)
    polls: int = 0
    stopped: bool = False
    submitted: list[str] = field(default_factory=list)

    def submit(self, job_id: str, spec: JobSpec) -> None:
        self.submitted.append(job_id)

    def status(self, job_id: str) -> JobStatus | None:
        self.polls += 1
        state = self.states[max(number for number in self.states if number <= self.polls)]
        began = None if self.skew is None else datetime.now(UTC) + self.skew
        return JobStatus(job_id, state, started_at=began, metadata=self.metadata)

    def logs(self, job_id: str, offset: int) -> tuple[str, int]:
        return "", offset

    def stop(self, job_id: str) -> None:
        self.stopped = True

    def find(self, **metadata: str) -> list[JobStatus]:
        return []


@pytest.mark.parametrize("skew", SKEWS)
def test_a_job_is_pending_for_too_long_only_by_the_clock_here(tmp_path: Path, skew: timedelta | None) -> None:
    cluster = OtherClock({1: JobState.PENDING}, skew)
    ended = watch(cluster, "a1", str(tmp_path), TARGET)
    assert (ended.state, ended.timed_out, cluster.stopped) == (JobState.FAILED, False, True)
    assert "still pending after 0.3 s" in ended.message
    assert cluster.polls > 3


@pytest.mark.parametrize("skew", SKEWS)
def test_a_job_that_begins_in_time_is_not_stopped(tmp_path: Path, skew: timedelta | None) -> None:
    cluster = OtherClock({1: JobState.PENDING, 4: JobState.RUNNING, 8: JobState.SUCCEEDED}, skew)
    ended = watch(cluster, "a1", str(tmp_path), TARGET)
    assert (ended.state, cluster.stopped) == (JobState.SUCCEEDED, False)


@pytest.mark.parametrize("skew", SKEWS)
def test_a_job_has_run_for_too_long_only_by_the_clock_here(tmp_path: Path, skew: timedelta | None) -> None:
    """Its own driver ends it before that; this is for one that hangs."""
    cluster = OtherClock({1: JobState.PENDING, 3: JobState.RUNNING}, skew, {TIMEOUT_KEY: str(LIMIT_S)})
    ended = watch(cluster, "a1", str(tmp_path), TARGET.model_copy(update={"pending_timeout_s": 60.0}))
    assert (ended.state, ended.timed_out, cluster.stopped) == (JobState.FAILED, True, True)
    assert "limit of 0.3 s" in ended.message
    assert cluster.polls > 5


@pytest.mark.parametrize("skew", SKEWS)
def test_a_pending_job_is_found_again_whatever_its_age_seems_to_be(tmp_path: Path, skew: timedelta | None) -> None:
    cluster = OtherClock({1: JobState.PENDING}, skew)
    spec = JobSpec("embed", str(tmp_path), (JobRun("", RunConfig()),))
    assert ensure(cluster, spec, TARGET).state is JobState.PENDING
    assert (cluster.submitted, cluster.stopped) == ([], False)


def test_a_value_counts_from_when_it_was_first_seen() -> None:
    now = [100.0]
    seen = Unchanged(lambda: now[0])
    assert seen.seconds(None) == 0.0
    now[0] += 5
    assert seen.seconds(None) == 5.0
    now[0] += 5
    assert seen.seconds("other") == 0.0
    now[0] += 2
    assert (seen.seconds("other"), seen.seconds(None)) == (2.0, 0.0)
