"""Flow runs on a complete site: nights that read only what changed, and processes that are killed around a job.

One site serves all tests: Prefect's scheduler creates runs, a runner serves the flows, Ray runs the jobs, S3 holds the
data, and a proxy delays reads so that there is time to kill something.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from flows.scheduled.revival.judge import Action
from flows.scheduled.revival.policy import RevivalPolicy
from pipeline import units
from tests.fixtures.flow_steps import KILLED, STEPS, copy, kill_flow, reads_step, start_step, tables
from tests.fixtures.heartbeats import WrittenRuns, look
from tests.fixtures.pictures import jpegs
from tests.fixtures.processes import until
from tests.fixtures.servers.flow_site import EVERY_S, FlowSite, open_site

pytestmark = pytest.mark.slow

ROWS = 64
NIGHTLY, COPIES = 100, 10
#: Flows here send a heartbeat every 30 s, the least that Prefect accepts.
SOON = RevivalPolicy(heartbeat_s=20, missed_heartbeats=2)


@pytest.fixture(scope="module")
def site(prefect_server, s3_server, fork_server, tmp_path_factory) -> Iterator[FlowSite]:
    with open_site(prefect_server, s3_server, fork_server, tmp_path_factory.mktemp("site")) as site:
        yield site


@dataclass(frozen=True)
class Nights:
    """Scheduled runs of `nightly`, and the pictures that each read."""

    out: str
    runs: list[dict[str, Any]]
    read: list[list[str]]


NAMES = [f"{number:03d}.jpg" for number in range(NIGHTLY)]
CHANGED, REMOVED, NEW = NAMES[10:12], NAMES[50:51], [f"new-{number}.jpg" for number in range(5)]


@pytest.fixture(scope="module")
def nights(site) -> Nights:
    """Two nights with both steps: over 90 pictures and 10 copies, and after a few changes."""
    bucket, pictures = site.bucket(), list(jpegs(NIGHTLY))
    distinct, later = pictures[: NIGHTLY - COPIES], pictures[NIGHTLY - COPIES :]
    site.put(bucket, dict(zip(NAMES, distinct + distinct[:COPIES], strict=True)))
    parameters = {"config": site.config(bucket, whole_catalog=True), "target": site.target, **STEPS}
    site.prefect.call("PATCH", f"/deployments/{site.deployments['nightly']}", {"parameters": parameters})
    found = Nights(f"{bucket}/out", [], [])
    for number in range(2):
        if number:
            site.put(bucket, dict(zip(NEW + CHANGED, later, strict=False)))
            site.remove(bucket, REMOVED)
        site.proxy.requests.clear()
        found.runs.append(site.night())
        found.read.append(site.proxy.pictures_read())
    assert tables(found.out)[1]["id"].to_pylist() == NAMES[:30]
    return found


def test_a_night_reads_only_what_is_new_or_changed(site, nights):
    """Over a source without changes no actor starts: tests/cluster/test_driver_jobs.py."""
    assert [night["state"]["name"] for night in nights.runs] == ["Completed"] * 2
    assert [night["state"]["message"] for night in nights.runs] == [
        "rows in 100 = 100 embedded + 0 quarantined; dedup: 100 rows = 90 kept + 10 dropped; "
        "filter: 100 rows = 30 kept + 70 dropped",
        "rows in 104 = 7 embedded + 0 quarantined + 97 already done; 1 id that the catalog no "
        "longer holds; dedup: 104 rows = 94 kept + 10 dropped; "
        "filter: 104 rows = 30 kept + 74 dropped",
    ]
    assert nights.read == [NAMES, sorted(NEW + CHANGED)]
    assert [site.embedders(night["id"]) for night in nights.runs] == [1, 1]

    second = nights.runs[1]
    shown = site.prefect.artifacts(second["id"])
    assert set(shown) >= {"nightly-summary", "nightly-report"}
    assert second["name"].startswith("nightly 20")
    report = shown["nightly-report"]["data"]
    assert "| vanished | 1 id " in report
    assert site.jobs(second["id"])[0]["submission_id"] in report
    assert site.alive(*(night["id"] for night in nights.runs)) == []


def test_dedup_and_filter_flows_write_the_tables_of_a_night_although_processes_are_killed(site, nights, monkeypatch):
    """Without a cluster a step dies with its flow's process and is repeated; on a cluster it continues."""
    here, there = (copy(site, nights.out, name, f"{step}/") for name, step in KILLED.items())
    lost = start_step(site, "dedup", here, {"backend": "local", "poll_s": 1.0})
    kept = start_step(site, "filter", there, site.target)
    for flow_run_id, out in ((lost, here), (kept, there)):
        reads_step(site, out)
        kill_flow(site, flow_run_id)
        with called_here(site, monkeypatch):
            assert look(SOON, dry_run=True)[flow_run_id] is Action.REVIVE, "what `reap` would do"
        site.restart_flow(flow_run_id)
    until(lambda: site.prefect.flow_run(kept)["run_count"] > 1, "the run to restart", every_s=EVERY_S)
    for flow_run_id in (lost, kept):
        assert finish(site, flow_run_id) == "Completed", site.prefect.flow_run(flow_run_id)["state"]
    assert [job["status"] for job in site.jobs(kept)] == ["SUCCEEDED"]
    for out in (here, there):
        assert tables(out) == tables(nights.out)


@pytest.fixture(scope="module")
def bucket(site: FlowSite) -> str:
    bucket = site.bucket()
    site.put(bucket, {f"{number:03d}.jpg": picture for number, picture in enumerate(jpegs(ROWS))})
    return bucket


def begin(site: FlowSite, bucket: str, delay_s: float, out: str) -> tuple[str, str]:
    """Start a flow run with a job that reads slowly; returns the ids of both."""
    site.proxy.delay(delay_s)
    flow_run_id = site.start("embed", config=site.config(bucket, out))
    return flow_run_id, site.running(flow_run_id)[0]


def finish(site: FlowSite, flow_run_id: str) -> str:
    """Let a flow run continue at full speed; returns its final state."""
    site.proxy.hurry()
    return str(site.ended(flow_run_id)["state"]["name"])


def assert_complete(site: FlowSite, out: str, *flow_run_ids: str, rows: int = ROWS) -> None:
    """Each row exists once, and no job of the flow runs is left."""
    report = site.verified(out)
    assert (report.planned, report.embedded, report.missing, report.duplicated) == (rows, rows, 0, 0)
    assert (report.ok, report.complete) == (True, True)
    assert site.alive(*flow_run_ids) == []


def test_a_cancelled_backfill_stops_all_its_jobs_within_30_seconds_and_resumes(site, bucket):
    config = site.config(bucket, "cancelled")
    config["source"]["uris"] = [f"{bucket}/photos/{{key}}*.jpg"]
    request = {"partitions": ["00", "01"], "group": 1, "max_active": 2}
    site.proxy.delay(3.0)
    flow_run_id = site.start("backfill", config=config, request=request)
    jobs = site.running(flow_run_id, 2)
    site.cancel(flow_run_id)
    stopped = lambda: [site.job_status(job_id) for job_id in jobs] == ["STOPPED"] * 2  # noqa: E731
    until(stopped, f"the stop of {jobs}", 30, every_s=0.5, log=site.runner.log)
    assert site.ended(flow_run_id)["state"]["name"] == "Cancelled"
    summary = site.prefect.artifacts(flow_run_id)["backfill-summary"]
    assert summary["description"] == "Cancelled; data incomplete"
    assert "/#/jobs/" in summary["data"]
    assert "`hanclip jobs logs " in summary["data"]
    assert len(site.jobs(flow_run_id)) == 2
    again = site.start("backfill", config=config, request={**request, "group": 2})
    assert finish(site, again) == "Completed", site.prefect.flow_run(again)["state"]
    assert site.prefect.flow_run(again)["state"]["message"] == "2 partitions: 2 done"
    assert_complete(site, f"{bucket}/cancelled", flow_run_id, again, rows=20)


def test_a_run_outlasts_restarted_servers_its_killed_flow_and_its_killed_driver(site, bucket, monkeypatch):
    """The killed flow is restarted once, by `reap`, and finds its job; the job of a deleted flow run is an orphan."""
    flow_run_id, job_id = begin(site, bucket, 8.0, "outlasting")
    site.prefect.stop()
    time.sleep(3)
    site.prefect.start()
    assert site.job_status(job_id) == "RUNNING"
    site.restart_dashboard(away_s=4)
    # The job survived both, and its flow run has started no other.
    assert site.running(flow_run_id) == [job_id]
    assert len(site.jobs(flow_run_id)) == 1

    site.runner.kill()
    site.runner.start()
    deleted = WrittenRuns(site.prefect, site.deployments["embed"]).make()
    site.prefect.call("DELETE", f"/flow_runs/{deleted}")
    site.submit("orphan", app="hanclip", flow_run_id=deleted)
    site.submit("by-hand", app="hanclip")
    time.sleep(3)
    assert (site.state(flow_run_id), site.job_status(job_id)) == ("Running", "RUNNING")
    with called_here(site, monkeypatch):
        until(lambda: flow_run_id in look(SOON, dry_run=True), "the silence of the flow run", every_s=6.0)
    ended = site.ended(site.start("reap", revival=SOON.model_dump()))["state"]
    assert ended["name"] == "Completed", ended
    assert "revived" in site.prefect.flow_run(flow_run_id)["tags"]
    until(lambda: f"Job {job_id} is RUNNING" in site.prefect.logs(flow_run_id), "the job", every_s=EVERY_S)
    with called_here(site, monkeypatch):
        assert_reaped(site, "orphan", ["by-hand", job_id])
    site.head.request("POST", "/api/jobs/by-hand/stop")

    assert [job["status"] for job in site.jobs(flow_run_id)] == ["RUNNING"]
    os.kill(site.driver(job_id), signal.SIGKILL)
    assert finish(site, flow_run_id) == "Completed"
    assert [job["status"] for job in site.jobs(flow_run_id)] == ["FAILED", "SUCCEEDED"]
    assert_complete(site, f"{bucket}/outlasting", flow_run_id)
    assert site.prefect.flow_run(flow_run_id)["run_count"] == 2
    assert "revivals" in site.prefect.artifacts(flow_run_id)


@contextmanager
def called_here(site: FlowSite, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Flows and clients in this process use the site's servers."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    for name, value in {**site.prefect.env, **site.head.client_env}.items():
        monkeypatch.setenv(name, value)
    with temporary_settings({PREFECT_API_URL: site.prefect.url}):
        yield


def assert_reaped(site: FlowSite, orphan: str, others: list[str]) -> None:
    """`reap` without a grace period, called here, stops this job and leaves the others alone."""
    from flows.jobs.target import TargetConfig
    from flows.scheduled.reap import reap

    for dry_run, action, summary, status in (
        (True, "would stop", "to stop", "RUNNING"),
        (False, "stopped", "stopped", "STOPPED"),
    ):
        reaped = reap(TargetConfig(**site.target), grace_s=0, dry_run=dry_run, return_state=True)
        rows = rows_of(site.prefect.artifacts(str(reaped.state_details.flow_run_id)))
        assert rows[orphan]["what"] == action
        assert {rows[job_id]["what"] for job_id in others} == {"left alone"}
        # Other tests may have left jobs.
        count = sum(row["what"] == action for row in rows.values())
        assert reaped.message.endswith(f"{units.count(len(rows), 'job')} alive, {count} {summary}")
        assert site.job_status(orphan) == status
        assert {site.job_status(job_id) for job_id in others} <= {"PENDING", "RUNNING"}
    assert "submitted by hand" in rows["by-hand"]["flow run"]


def rows_of(artifacts: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The rows of reap's table by job."""
    return {row["job"]: row for row in json.loads(artifacts["reap-jobs"]["data"])}
