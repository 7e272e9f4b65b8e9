"""A cluster that does not answer, forgets jobs, refuses the token, or has no room."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from pathlib import Path

import pytest

from flows.jobs import attach
from flows.jobs.attach import ensure, inspect, watch
from flows.jobs.contract import JobSpec, JobState
from flows.jobs.errors import RefusedError, UnreachableError
from flows.jobs.ids import MAX_LENGTH, attempt_id, job_id_base
from flows.jobs.kuberay.backend import KubeRay
from flows.jobs.local import LocalJobs
from flows.jobs.ray_api.backend import RayJobs
from flows.jobs.target import TargetConfig
from pipeline.jobs.folder import job_uri, write_job, write_progress
from pipeline.jobs.job import Job, JobProgress
from pipeline.jobs.progress import Progress
from tests.fixtures import toy_driver
from tests.fixtures.processes import patience, until
from tests.fixtures.servers.kubernetes import FakeKubernetes
from tests.fixtures.servers.ray_head import RayHead
from tests.fixtures.servers.tcp_proxy import Proxy

pytestmark = pytest.mark.usefixtures("token")


@pytest.fixture
def token(ray_head: RayHead, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray_head.token)
    return ray_head.token


def spec_of(key: str, tmp_path: Path) -> JobSpec:
    return JobSpec(job_id_base("test", secrets.token_hex(8), key), str(tmp_path / "out"), toy_driver.runs(key))


def ray_target(address: str, tmp_path: Path, **settings: float) -> TargetConfig:
    python = toy_driver.interpreter(tmp_path)
    return TargetConfig.model_validate(
        {"backend": "ray", "address": address, "python": python, "poll_s": 0.5, **settings}
    )


def test_a_watcher_survives_an_outage_and_passes_each_line_on_once(ray_head: RayHead, tmp_path: Path) -> None:
    proxy = Proxy(ray_head.dashboard)
    target = ray_target(proxy.url, tmp_path, lost_after_s=60)
    backend = RayJobs(proxy.url, target.python, 10, attempt_s=0.5)
    spec, lines = spec_of("sleep", tmp_path), list[str]()
    job_id = ensure(backend, spec, target).job_id
    steady = RayJobs.of(ray_target(ray_head.dashboard, tmp_path))

    def rows() -> list[str]:
        return [line for line in "".join(lines).splitlines() if " row " in line]

    def trouble() -> None:
        try:
            until(rows, "the first row")
            for mode in ("refuse", "hang", "pass"):
                proxy.set_mode(mode)  # type: ignore[arg-type]
                time.sleep(2)
            before = len(rows())
            until(lambda: len(rows()) > before + 10, "rows after the outage")
        finally:
            steady.stop(job_id)

    thread = threading.Thread(target=trouble)
    thread.start()
    ended = watch(backend, job_id, spec.out, target, lines.append)
    thread.join()
    proxy.close()
    assert ended.state is JobState.STOPPED
    assert len(rows()) > 10
    assert rows() == [f"sleep row {number}" for number in range(1, len(rows()) + 1)]


@pytest.mark.parametrize("mode", ["refuse", "hang"])
def test_a_cluster_that_never_answers_is_given_up_in_time(ray_head: RayHead, tmp_path: Path, mode: str) -> None:
    proxy = Proxy(ray_head.dashboard)
    proxy.set_mode(mode)  # type: ignore[arg-type]
    backend, began_s = RayJobs(proxy.url, "python", 10, attempt_s=0.5), time.monotonic()
    with pytest.raises(UnreachableError, match=rf"{proxy.url} .*Check the address"):
        ensure(backend, spec_of("ok", tmp_path), ray_target(proxy.url, tmp_path, lost_after_s=2))
    assert time.monotonic() - began_s < patience(10)
    proxy.close()


def test_a_submission_without_an_answer_is_one_job(ray_head: RayHead, tmp_path: Path) -> None:
    proxy = Proxy(ray_head.dashboard)
    target = ray_target(proxy.url, tmp_path, lost_after_s=30)
    backend, spec = RayJobs(proxy.url, target.python, 10, attempt_s=0.5), spec_of("ok", tmp_path)
    steady = RayJobs.of(ray_target(ray_head.dashboard, tmp_path))
    steady.submit(attempt_id(spec.job_id_base, 1), spec)
    proxy.set_mode("hang")
    threading.Timer(1.5, proxy.set_mode, ("pass",)).start()
    begun = ensure(backend, spec, target)
    assert begun.job_id == attempt_id(spec.job_id_base, 1)
    assert watch(backend, begun.job_id, spec.out, target).state is JobState.SUCCEEDED
    proxy.close()


def test_a_wrong_token_is_refused_and_no_token_is_stored(
    ray_head: RayHead, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    target, spec = ray_target(ray_head.dashboard, tmp_path), spec_of("ok", tmp_path)
    backend = RayJobs.of(target)
    begun = ensure(backend, spec, target)
    watch(backend, begun.job_id, spec.out, target, lambda _: None)
    (job,) = [job for job in ray_head.request("GET", "/api/jobs/") if job["submission_id"] == begun.job_id]
    stored = Path(job_uri(spec.out, begun.job_id)).read_text() + json.dumps(job)
    assert token not in stored + caplog.text + backend.logs(begun.job_id, 0)[0]
    wrong = tmp_path / "token"
    wrong.write_text("no-such-token-but-of-a-good-length\n")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(wrong))
    with pytest.raises(RefusedError, match=r"refuses the credentials \(403.*Give the cluster.s token") as caught:
        ensure(backend, spec, target)
    assert "no-such-token" not in str(caught.value)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(RefusedError, match="no token was found"):
        backend.find()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(RefusedError, match=r"\(401"):
        backend.find()
    monkeypatch.delenv("RAY_AUTH_MODE")
    with pytest.raises(RefusedError, match=r"\(401"):
        backend.find()
    wrong.write_text(token)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(wrong))
    assert ensure(backend, spec, target).state is JobState.SUCCEEDED


def test_a_job_unknown_to_its_backend_is_lost_unless_its_driver_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach, "HEARTBEAT_S", patience(2.0))
    backend, spec = LocalJobs(10, toy_driver.drive), spec_of("ok", tmp_path)
    job_id = attempt_id(spec.job_id_base, 1)
    uri = write_job(spec.out, job_id, Job(spec.runs))
    assert inspect(backend, job_id, spec.out) is None, "written, but never started"
    first, later = (Progress("toy", "running", rows_already_done=rows) for rows in (1, 2))
    write_progress(uri, JobProgress(job_id, "running", 0, 1, first))
    lost = inspect(backend, job_id, spec.out)
    assert lost is not None
    assert (lost.state, "lost" in lost.message) == (JobState.FAILED, True)
    threading.Timer(1.0, write_progress, (uri, JobProgress(job_id, "running", 0, 1, later))).start()
    alive = inspect(backend, job_id, spec.out)
    assert alive is not None
    assert (alive.state, "another" in alive.message) == (JobState.RUNNING, True)
    assert ensure(backend, spec, TargetConfig()).job_id == attempt_id(spec.job_id_base, 2)


def test_a_job_that_never_starts_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubernetes = FakeKubernetes()
    kubernetes.start()
    kubernetes.hold = True
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig()))
    template = tmp_path / "rayjob.yaml"
    template.write_text("{kind: RayJob, spec: {rayClusterSpec: {headGroupSpec: {}}}}")
    target = TargetConfig.model_validate(
        {
            "backend": "kuberay",
            "rayjob_template": str(template),
            "python": toy_driver.interpreter(tmp_path),
            "pending_timeout_s": 1,
            "poll_s": 0.2,
        }
    )
    backend, spec = KubeRay.of(target), spec_of("ok", tmp_path)
    begun = ensure(backend, spec, target)
    ended = watch(backend, begun.job_id, spec.out, target)
    assert (ended.state, "pending_timeout_s" in ended.message) == (JobState.FAILED, True)
    assert kubernetes.jobs == {}
    kubernetes.hold, kubernetes.dashboards = False, False
    lines: list[str] = []
    again = ensure(backend, spec, target)
    assert watch(backend, again.job_id, spec.out, target, lines.append).state is JobState.SUCCEEDED
    assert lines == [], "no dashboard and no log, which is no error"
    body = kubernetes.jobs[again.job_id]["spec"]
    assert (body["jobId"], body["backoffLimit"], body["submissionMode"]) == (again.job_id, 0, "HTTPMode")
    kubernetes.stop()


@pytest.mark.parametrize("slug", ["", "2026-11-01", "2026-11-01..2026-11-30", "双十一 Sale!", "a" * 80])
def test_ids_are_kubernetes_names_and_distinct(slug: str) -> None:
    base = job_id_base("backfill", "0690A4DE-77c1-7bd6-8000-5c1c4b0ff0c1", slug)
    assert base.startswith("backfill-5c1c4b0ff0c1")
    assert len(attempt_id(base, 99)) <= MAX_LENGTH
    assert base != job_id_base("backfill", "0690a4de-77c1-7bd6-8000-5c1c4b0ff0c1", slug + "!")
