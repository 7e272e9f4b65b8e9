"""Flows on a site with all that belongs to it: nights that read what is new, and whatever is killed around a job.

One site for all: Prefect's scheduler makes runs, the runner serves the flows, Ray runs the jobs, S3 holds the data, and
the proxy reads pictures slowly enough to kill something meanwhile.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from flow_site import FlowSite, open_site
from pictures import jpegs
from prefect_server import until

pytestmark = pytest.mark.slow

ROWS = 64
NIGHTLY = 100
ZOMBIES = Path(__file__).parent.parent / "infra" / "prefect" / "automations" / "zombies.yaml"


@pytest.fixture(scope="module")
def site(postgres_server, s3_server, tmp_path_factory) -> Iterator[FlowSite]:
    with open_site(postgres_server, s3_server, tmp_path_factory.mktemp("site")) as site:
        yield site


def night(site: FlowSite) -> dict[str, Any]:
    """Give the deployment a schedule that is soon due, and wait for the end of the run that the scheduler makes."""
    deployment = f"/deployments/{site.deployments['nightly']}"
    soon = datetime.now(UTC) + timedelta(seconds=4)
    schedule = {"interval": 86400.0, "anchor_date": soon.isoformat(), "timezone": "UTC"}
    (made,) = site.prefect.call("POST", f"{deployment}/schedules", [{"active": True, "schedule": schedule}])

    def begun() -> str:
        runs = site.prefect.flow_runs(expected_start_time={"after_": (soon - timedelta(seconds=2)).isoformat()})
        return next((run["id"] for run in runs if run["state"]["type"] != "SCHEDULED" and run["auto_scheduled"]), "")

    flow_run_id = until(begun, f"a scheduled run; {site.runner.log()}")
    site.prefect.call("DELETE", f"{deployment}/schedules/{made['id']}")
    return site.ended(flow_run_id)


def embedders(site: FlowSite) -> int:
    """How many embedders the cluster has ever had."""
    answer = site.head.request("GET", "/api/v0/actors?limit=10000&detail=1")
    return sum("Embedder" in actor["class_name"] for actor in answer["data"]["result"]["result"])


def test_three_nights_read_only_what_is_new_or_changed(site):
    bucket, pictures = site.bucket(), list(jpegs(NIGHTLY + 10))
    names = [f"{number:03d}.jpg" for number in range(NIGHTLY)]
    site.put(bucket, dict(zip(names, pictures, strict=False)))
    parameters = {"config": site.config(bucket, whole_catalog=True), "target": site.target}
    site.prefect.call("PATCH", f"/deployments/{site.deployments['nightly']}", {"parameters": parameters})

    first = night(site)
    assert (first["state"]["name"], first["state"]["message"]) == (
        "Completed",
        f"rows in {NIGHTLY} = {NIGHTLY} embedded + 0 quarantined",
    )
    assert site.proxy.pictures_read() == names

    changed, gone, new = names[10:12], names[50:51], [f"new-{number}.jpg" for number in range(5)]
    site.put(bucket, dict(zip(new + changed, pictures[NIGHTLY:], strict=False)))
    site.remove(bucket, gone)
    site.proxy.requests.clear()
    second = night(site)
    assert second["state"]["message"] == "rows in 104 = 7 embedded + 0 quarantined + 97 already done"
    assert site.proxy.pictures_read() == sorted(new + changed)

    site.proxy.requests.clear()
    before = embedders(site)
    third = night(site)
    assert third["state"]["message"] == "rows in 104 = 0 embedded + 0 quarantined + 104 already done"
    assert site.proxy.pictures_read() == []
    assert embedders(site) == before >= 2

    shown = site.prefect.artifacts(second["id"])
    assert set(shown) >= {"nightly-plan", "nightly-job", "nightly-report"}
    assert second["name"].startswith("nightly 20")
    report = shown["nightly-report"]["data"]
    assert "| vanished | 1 ids" in report
    assert site.jobs(second["id"])[0]["submission_id"] in report
    assert site.alive() == []


@pytest.fixture(scope="module")
def bucket(site: FlowSite) -> str:
    bucket = site.bucket()
    site.put(bucket, {f"{number:03d}.jpg": picture for number, picture in enumerate(jpegs(ROWS))})
    return bucket


def begin(site: FlowSite, bucket: str, out: str, delay_s: float = 0.5) -> tuple[str, str]:
    """A flow run whose job reads slowly; gives their ids."""
    site.proxy.delay_s = delay_s
    flow_run_id = site.start("embed", config=site.config(bucket, out))
    (job_id,) = site.running(flow_run_id)
    return flow_run_id, job_id


def finish(site: FlowSite, flow_run_id: str) -> str:
    """Let it go on at full speed; gives its last state."""
    site.proxy.delay_s = 0
    return str(site.ended(flow_run_id)["state"]["name"])


def assert_whole(site: FlowSite, out: str, rows: int = ROWS) -> None:
    """Every row is there once, and no job is left."""
    report = site.verified(out)
    assert (report.planned, report.embedded, report.missing, report.duplicated) == (rows, rows, 0, 0)
    assert (report.ok, report.complete) == (True, True)
    assert site.alive() == []


def test_a_cancelled_backfill_stops_all_its_jobs_within_30_seconds_and_resumes(site, bucket):
    config = site.config(bucket, "cancelled")
    config["source"]["uris"] = [f"{bucket}/photos/{{key}}*.jpg"]
    request = {"partitions": ["00", "01"], "group": 1, "max_active": 2}
    site.proxy.delay_s = 3.0
    flow_run_id = site.start("backfill", config=config, request=request)
    jobs = site.running(flow_run_id, 2)
    assert site.prefect.cli("flow-run", "cancel", flow_run_id).returncode == 0
    stopped = lambda: [site.job_status(job_id) for job_id in jobs] == ["STOPPED"] * 2  # noqa: E731
    until(stopped, f"the stop of {jobs}; {site.runner.log()}", 30)
    assert site.ended(flow_run_id)["state"]["name"] == "Cancelled"
    assert len(site.jobs(flow_run_id)) == 2
    again = site.start("backfill", config=config, request={**request, "group": 2})
    assert finish(site, again) == "Completed", site.prefect.flow_run(again)["state"]
    assert site.prefect.flow_run(again)["state"]["message"] == "2 partitions: 2 done"
    assert_whole(site, f"{bucket}/cancelled", rows=20)


def test_a_killed_driver_is_followed_by_another_attempt(site, bucket):
    flow_run_id, job_id = begin(site, bucket, "driver")
    os.kill(site.driver(job_id), signal.SIGKILL)
    assert finish(site, flow_run_id) == "Completed"
    assert [job["status"] for job in site.jobs(flow_run_id)] == ["FAILED", "SUCCEEDED"]
    assert_whole(site, f"{bucket}/driver")


def test_a_prefect_server_and_a_dashboard_that_restart_are_waited_for(site, bucket):
    flow_run_id, job_id = begin(site, bucket, "restarts", delay_s=2.0)
    site.prefect.stop()
    time.sleep(3)
    site.prefect.start()
    assert site.job_status(job_id) == "RUNNING"
    site.restart_dashboard(away_s=4)
    assert site.job_status(job_id) == "RUNNING"
    assert finish(site, flow_run_id) == "Completed"
    assert len(site.jobs(flow_run_id)) == 1
    assert_whole(site, f"{bucket}/restarts")


def test_a_killed_flow_and_a_killed_runner_leave_their_jobs_to_the_runs_that_come_back(site, bucket, tmp_path):
    """The automation against zombies starts both flow runs again; each finds the job of its first process."""
    quick = yaml.safe_load(ZOMBIES.read_text())
    # Flows here send a heartbeat every 30 s, the least that Prefect takes.
    quick["trigger"]["within"] = 45
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(quick))
    for path in (ZOMBIES, tmp_path / "quick.yaml"):
        made = site.prefect.cli("automation", "create", "--from-file", str(path))
        assert made.returncode == 0, made.stdout + made.stderr

    crashed, crashed_job = begin(site, bucket, "crashed", delay_s=3.0)
    (pid,) = site.runner.children()
    os.kill(pid, signal.SIGKILL)
    until(lambda: site.state(crashed) == "Crashed", "Prefect to notice")
    zombie, zombie_job = begin(site, bucket, "zombie", delay_s=3.0)
    site.runner.kill()
    site.runner.start()
    time.sleep(3)
    assert site.state(zombie) == "Running"
    assert [site.job_status(job_id) for job_id in (crashed_job, zombie_job)] == ["RUNNING", "RUNNING"]

    for flow_run_id, job_id in ((crashed, crashed_job), (zombie, zombie_job)):
        until(lambda run=flow_run_id: site.prefect.flow_run(run)["run_count"] == 2, "the run to come back")
        until(lambda run=flow_run_id, job=job_id: f"Job {job} is RUNNING" in site.prefect.logs(run), "the job")
    for flow_run_id, out in ((crashed, "crashed"), (zombie, "zombie")):
        assert finish(site, flow_run_id) == "Completed"
        assert [job["status"] for job in site.jobs(flow_run_id)] == ["SUCCEEDED"]
        report = site.verified(f"{bucket}/{out}")
        assert (report.embedded, report.duplicated, report.ok, report.complete) == (ROWS, 0, True, True)
    assert site.alive() == []


def test_reap_stops_what_belongs_to_nobody_any_more_and_nothing_else(site, bucket, monkeypatch):
    orphaned, job_id = begin(site, bucket, "orphan", delay_s=3.0)
    by_hand = {"entrypoint": "sleep 300", "submission_id": "by-hand", "metadata": {"app": "hanclip"}}
    site.head.request("POST", "/api/jobs/", by_hand)
    site.runner.kill()
    site.prefect.call("DELETE", f"/flow_runs/{orphaned}")
    for name, value in {**site.prefect.env, **site.head.client_env}.items():
        monkeypatch.setenv(name, value)
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.jobs.target import TargetConfig
    from flows.scheduled import reap

    target = TargetConfig(**site.target)
    with temporary_settings({PREFECT_API_URL: site.prefect.url}):
        for dry_run, message, status in ((True, "1 to stop", "RUNNING"), (False, "1 stopped", "STOPPED")):
            reaped = reap(target, grace_s=0, dry_run=dry_run, return_state=True)
            assert reaped.message == f"2 jobs alive, {message}"
            assert site.job_status(job_id) == status
    assert site.alive() == ["by-hand"]
    shown = site.prefect.artifacts(str(reaped.state_details.flow_run_id))
    assert "submitted by hand" in shown["reap-jobs"]["data"]
    site.head.request("POST", "/api/jobs/by-hand/stop")
