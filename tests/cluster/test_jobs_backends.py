"""The contract of a job backend, for all three: threads, a Ray head with tokens, and a fake Kubernetes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.jobs.attach import ensure, inspect, watch
from flows.jobs.backends import make_backend
from flows.jobs.contract import JobBackend, JobSpec, JobState
from flows.jobs.ids import job_id_base
from flows.jobs.local import LocalJobs
from flows.jobs.target import TargetConfig
from pipeline.jobs.folder import read_summary
from pipeline.jobs.job import JobProgress
from tests.fixtures import toy_driver
from tests.fixtures.processes import until
from tests.fixtures.servers.kubernetes import FakeKubernetes
from tests.fixtures.servers.ray_head import RayHead

RAYJOB = """
apiVersion: ray.io/v1
kind: RayJob
metadata: {name: template, labels: {team: vision}}
spec:
  rayClusterSpec: {headGroupSpec: {template: {spec: {containers: [{name: head, image: hanclip}]}}}}
"""


@dataclass(frozen=True)
class Place:
    """A backend, the target that made it, and a folder for output."""

    backend: JobBackend
    target: TargetConfig
    out: str

    def spec(self, key: str, **metadata: str) -> JobSpec:
        """A new job of the toy driver."""
        base = job_id_base("test", secrets.token_hex(8), key)
        return JobSpec(base, self.out, toy_driver.runs(key), {"flow_run_id": base, **metadata})

    def until(self, job_id: str, condition: Callable[[Any], bool]) -> Any:
        """Wait for a status for which the condition holds."""

        def look() -> Any:
            status = self.backend.status(job_id)
            return status if condition(status) else None

        return until(look, f"a status of {job_id}", 60)


@pytest.fixture
def kubernetes() -> Iterator[FakeKubernetes]:
    server = FakeKubernetes()
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["local", "ray", "kuberay"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    settings: dict[str, Any] = {"python": toy_driver.interpreter(tmp_path), "poll_s": 0.5, "stop_wait_s": 10}
    out = str(tmp_path / "out")
    if request.param == "local":
        return Place(LocalJobs(10, toy_driver.drive), TargetConfig(**settings), out)
    if request.param == "ray":
        head: RayHead = request.getfixturevalue("ray_head")
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
        target = TargetConfig(backend="ray", address=head.dashboard, **settings)
        return Place(make_backend(target), target, out)
    server: FakeKubernetes = request.getfixturevalue("kubernetes")
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig()))
    template = tmp_path / "rayjob.yaml"
    template.write_text(RAYJOB)
    target = TargetConfig(backend="kuberay", rayjob_template=str(template), namespace="jobs", **settings)
    return Place(make_backend(target), target, out)


def test_a_job_runs_to_its_end_and_is_found_again(place: Place) -> None:
    spec, lines, progress = place.spec("ok"), list[str](), list[JobProgress]()
    begun = ensure(place.backend, spec, place.target)
    assert begun.job_id == f"{spec.job_id_base}-a1"
    ended = watch(place.backend, begun.job_id, spec.out, place.target, lines.append, progress.append)
    assert ended.state is JobState.SUCCEEDED
    log = "".join(lines)
    assert [log.count(f"ok line {number}\n") for number in range(5)] == [1] * 5
    assert progress[-1].job_id == begun.job_id
    again = ensure(place.backend, spec, place.target)
    assert (again.job_id, again.state) == (begun.job_id, JobState.SUCCEEDED)


def test_submitting_or_stopping_twice_is_like_once(place: Place) -> None:
    spec = place.spec("sleep", flow="nightly")
    first = ensure(place.backend, spec, place.target)
    place.backend.submit(first.job_id, spec)
    attached = ensure(place.backend, spec, place.target)
    assert attached.job_id == first.job_id
    assert not attached.state.over
    place.until(first.job_id, lambda status: status.state is JobState.RUNNING)
    found = place.backend.find(flow_run_id=spec.job_id_base, flow="nightly", app="hanclip")
    assert [job.job_id for job in found] == [first.job_id]
    assert not place.backend.find(flow_run_id=spec.job_id_base, flow="backfill")
    place.until(first.job_id, lambda _: "row 3" in place.backend.logs(first.job_id, 0)[0])
    text, offset = place.backend.logs(first.job_id, 0)
    more, _ = place.backend.logs(first.job_id, offset)
    assert not set(text.splitlines()) & set(more.splitlines())
    place.backend.stop(first.job_id)
    place.backend.stop(first.job_id)
    stopped = inspect(place.backend, first.job_id, spec.out)
    assert stopped is not None
    assert (stopped.state, stopped.exit_code) == (JobState.STOPPED, 143), "the driver had time to finish"
    assert ensure(place.backend, spec, place.target).job_id == f"{spec.job_id_base}-a2"
    # Ray may start the process of a job that is stopped while it is pending.
    place.until(f"{spec.job_id_base}-a2", lambda status: status.state is JobState.RUNNING)
    place.backend.stop(f"{spec.job_id_base}-a2")


@pytest.mark.parametrize("key", ["fail", "die"])
def test_a_failed_job_is_retried_up_to_a_limit(place: Place, key: str) -> None:
    spec, target = place.spec(key), place.target.model_copy(update={"max_attempts": 2})
    for attempt in (1, 2):
        begun = ensure(place.backend, spec, target)
        assert begun.job_id == f"{spec.job_id_base}-a{attempt}"
        assert watch(place.backend, begun.job_id, spec.out, target).state is JobState.FAILED
    last = ensure(place.backend, spec, target)
    assert (last.job_id, last.state) == (f"{spec.job_id_base}-a2", JobState.FAILED)
    if key == "fail":
        assert last.message == "toy: fail", "the driver's message, not the end of a log"


def test_a_job_with_too_much_quarantine_is_complete(place: Place) -> None:
    spec = place.spec("quarantine")
    begun = ensure(place.backend, spec, place.target)
    ended = watch(place.backend, begun.job_id, spec.out, place.target)
    assert (ended.state, ended.exit_code) == (JobState.SUCCEEDED, 3)
    assert ensure(place.backend, spec, place.target).job_id == begun.job_id


def test_a_job_is_stopped_after_its_timeout(place: Place) -> None:
    spec = place.spec("sleep")
    target = place.target.model_copy(update={"timeout_s": 1.0, "stop_wait_s": 0})
    begun = ensure(place.backend, spec, target)
    place.until(begun.job_id, lambda _: "row 1" in place.backend.logs(begun.job_id, 0)[0])
    ended = watch(place.backend, begun.job_id, spec.out, target)
    assert (ended.state, ended.timed_out) == (JobState.FAILED, True)
    assert "timeout_s" in ended.message
    summary = read_summary(spec.out, begun.job_id)
    assert summary is not None
    assert summary.state == "stopped"


def test_an_unknown_job_has_no_status(place: Place) -> None:
    assert place.backend.status("test-nothing-a1") is None
    assert place.backend.logs("test-nothing-a1", 7) == ("", 7)
    place.backend.stop("test-nothing-a1")
