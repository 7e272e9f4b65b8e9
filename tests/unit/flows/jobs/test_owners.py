"""Job ownership: ids that are unique per flow run, and which jobs are reaped or stopped. Small fakes, no cluster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Barrier, Event
from typing import cast
from uuid import UUID, uuid4

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Running

from flows.jobs.contract import JobState, JobStatus
from flows.jobs.errors import TransientJobError
from flows.jobs.ids import attempt_id, attempt_of, is_job_id, job_id_base
from flows.jobs.stopping import stop_all
from flows.jobs.target import TargetConfig
from flows.scheduled.reap import reason
from tests.fixtures.processes import patience
from tests.fixtures.toy_jobs import ToyJobs

#: Ids of flow runs created in one millisecond: UUIDv7 starts with 48 bits of milliseconds, here all the same.
FLOW_RUN_IDS = [
    "0690a4de-77c1-7bd6-8000-5c1c4b0ff0c1",
    "0690a4de-77c1-7bd6-9a01-0e1f5d7c22ab",
    "0690a4de-77c1-7f02-b310-77aa30b1e9d4",
]


def test_flow_runs_of_the_same_millisecond_have_different_job_ids() -> None:
    bases = {job_id_base("embed", flow_run_id, "shop") for flow_run_id in FLOW_RUN_IDS}
    assert len(bases) == 3
    assert all(is_job_id(attempt_id(base, 99)) for base in bases)
    assert [attempt_of(attempt_id(base, 12)) for base in bases] == [12] * 3


class Server:
    """A Prefect server that knows these flow runs."""

    def __init__(self, states: dict[str, State[None]]) -> None:
        self._states = states

    def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        if str(flow_run_id) not in self._states:
            raise ObjectNotFound(KeyError(flow_run_id))
        return FlowRun(flow_id=flow_run_id, state=self._states[str(flow_run_id)])


def test_reap_selects_only_jobs_of_finished_or_deleted_flow_runs() -> None:
    finished, running, deleted = FLOW_RUN_IDS
    server = cast(SyncPrefectClient, Server({finished: Cancelled(), running: Running()}))

    def reason_for(grace_s: float = 0.0, **metadata: str) -> str:
        now = datetime.now(UTC)
        job = JobStatus("j-a1", JobState.RUNNING, started_at=now - timedelta(hours=1), metadata=metadata)
        return reason(server, job, grace_s, now)

    assert "Cancelled" in reason_for(flow_run_id=finished)
    assert reason_for(flow_run_id=deleted) == "its flow run is gone"
    assert [
        reason_for(flow_run_id=running),
        reason_for(backfill_id=uuid4().hex),
        reason_for(flow_run_id="me"),
        reason_for(),
    ] == [""] * 4
    assert reason_for(600, flow_run_id=finished) == ""


JOBS = [f"{letter}-a1" for letter in "abcdef"]


class Stubborn(ToyJobs):
    """Every stop waits until all jobs have been asked to stop, and one of them fails."""

    all_asked = Barrier(len(JOBS))

    def stop(self, job_id: str) -> None:
        self.all_asked.wait(patience(10))
        if job_id == "b-a1":
            raise TransientJobError("b-a1 has not stopped. Stop it again.")
        self.stops[job_id] = Event()


def test_a_failed_stop_does_not_prevent_the_other_stops() -> None:
    jobs = Stubborn()
    assert list(stop_all(jobs, JOBS, TargetConfig())) == ["b-a1"]
    assert sorted(jobs.stops) == [job_id for job_id in JOBS if job_id != "b-a1"]
