"""Flows on a site with all that belongs to it: nights that read what is new, and whatever is killed around a job.

One site for all: Prefect's scheduler makes runs, the runner serves the flows, Ray runs the jobs, S3 holds the data, and
the proxy reads pictures slowly enough to kill something meanwhile.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
import yaml

from tests.fixtures.flow_steps import KILLED, STEPS, begin_step, copy, kill_flow, tables
from tests.fixtures.pictures import jpegs
from tests.fixtures.places import ROOT
from tests.fixtures.processes import until
from tests.fixtures.servers.flow_site import FlowSite, open_site

pytestmark = pytest.mark.slow

ROWS = 64
NIGHTLY = 100
ZOMBIES = ROOT / "infra" / "prefect" / "automations" / "zombies.yaml"


@pytest.fixture(scope="module")
def site(prefect_server, s3_server, tmp_path_factory) -> Iterator[FlowSite]:
    with open_site(prefect_server, s3_server, tmp_path_factory.mktemp("site")) as site:
        yield site


def test_three_nights_read_only_what_is_new_or_changed(site):
    bucket, pictures = site.bucket(), list(jpegs(NIGHTLY + 10))
    names = [f"{number:03d}.jpg" for number in range(NIGHTLY)]
    site.put(bucket, dict(zip(names, pictures, strict=False)))
    parameters = {"config": site.config(bucket, whole_catalog=True), "target": site.target}
    site.prefect.call("PATCH", f"/deployments/{site.deployments['nightly']}", {"parameters": parameters})

    first = site.night()
    assert (first["state"]["name"], first["state"]["message"]) == (
        "Completed",
        f"rows in {NIGHTLY} = {NIGHTLY} embedded + 0 quarantined",
    )
    assert site.proxy.pictures_read() == names

    changed, gone, new = names[10:12], names[50:51], [f"new-{number}.jpg" for number in range(5)]
    site.put(bucket, dict(zip(new + changed, pictures[NIGHTLY:], strict=False)))
    site.remove(bucket, gone)
    site.proxy.requests.clear()
    second = site.night()
    assert second["state"]["message"] == "rows in 104 = 7 embedded + 0 quarantined + 97 already done"
    assert site.proxy.pictures_read() == sorted(new + changed)

    site.proxy.requests.clear()
    third = site.night()
    assert third["state"]["message"] == "rows in 104 = 0 embedded + 0 quarantined + 104 already done"
    assert site.proxy.pictures_read() == []
    assert [site.embedders(night["id"]) for night in (first, second, third)] == [1, 1, 0]

    shown = site.prefect.artifacts(second["id"])
    assert set(shown) >= {"nightly-plan", "nightly-job", "nightly-report"}
    assert second["name"].startswith("nightly 20")
    report = shown["nightly-report"]["data"]
    assert "| vanished | 1 ids" in report
    assert site.jobs(second["id"])[0]["submission_id"] in report
    assert site.alive(*(night["id"] for night in (first, second, third))) == []


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
    site.proxy.delay_s, site.proxy.slow = 0, ".jpg"
    return str(site.ended(flow_run_id)["state"]["name"])


def assert_whole(site: FlowSite, out: str, *flow_run_ids: str, rows: int = ROWS) -> None:
    """Every row is there once, and none of the flow runs has left a job."""
    report = site.verified(out)
    assert (report.planned, report.embedded, report.missing, report.duplicated) == (rows, rows, 0, 0)
    assert (report.ok, report.complete) == (True, True)
    assert site.alive(*flow_run_ids) == []


def test_a_cancelled_backfill_stops_all_its_jobs_within_30_seconds_and_resumes(site, bucket):
    config = site.config(bucket, "cancelled")
    config["source"]["uris"] = [f"{bucket}/photos/{{key}}*.jpg"]
    request = {"partitions": ["00", "01"], "group": 1, "max_active": 2}
    site.proxy.delay_s = 3.0
    flow_run_id = site.start("backfill", config=config, request=request)
    jobs = site.running(flow_run_id, 2)
    assert site.prefect.cli("flow-run", "cancel", flow_run_id).returncode == 0
    stopped = lambda: [site.job_status(job_id) for job_id in jobs] == ["STOPPED"] * 2  # noqa: E731
    until(stopped, f"the stop of {jobs}", 30, log=site.runner.log)
    assert site.ended(flow_run_id)["state"]["name"] == "Cancelled"
    assert len(site.jobs(flow_run_id)) == 2
    again = site.start("backfill", config=config, request={**request, "group": 2})
    assert finish(site, again) == "Completed", site.prefect.flow_run(again)["state"]
    assert site.prefect.flow_run(again)["state"]["message"] == "2 partitions: 2 done"
    assert_whole(site, f"{bucket}/cancelled", flow_run_id, again, rows=20)


def test_a_killed_driver_is_followed_by_another_attempt(site, bucket):
    flow_run_id, job_id = begin(site, bucket, "driver")
    os.kill(site.driver(job_id), signal.SIGKILL)
    assert finish(site, flow_run_id) == "Completed"
    assert [job["status"] for job in site.jobs(flow_run_id)] == ["FAILED", "SUCCEEDED"]
    assert_whole(site, f"{bucket}/driver", flow_run_id)


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
    assert_whole(site, f"{bucket}/restarts", flow_run_id)


@pytest.fixture(scope="module")
def cleaned(site: FlowSite) -> str:
    """What a night with both steps left: forty pictures and ten copies."""
    bucket, pictures = site.bucket(), list(jpegs(40))
    site.put(bucket, {f"{number:03d}.jpg": pictures[number % 40] for number in range(50)})
    flow_run = site.ended(site.start("nightly", config=site.config(bucket), **STEPS))
    assert (flow_run["state"]["name"], flow_run["state"]["message"]) == (
        "Completed",
        "rows in 50 = 50 embedded + 0 quarantined; dedup: 50 rows = 40 kept + 10 dropped; "
        "filter: 50 rows = 30 kept + 20 dropped",
    )
    return f"{bucket}/out"


def test_dedup_and_filter_as_deployments_come_to_what_a_night_with_steps_came_to(site, cleaned):
    before = tables(cleaned)
    for flow, settings in STEPS.items():
        ended = site.ended(site.start(flow, out=cleaned, settings=settings))
        assert ended["state"]["name"] == "Completed", ended["state"]
        (job,) = site.jobs(ended["id"])
        assert job["status"] == "SUCCEEDED"
    assert tables(cleaned) == before
    assert before[1]["id"].to_pylist() == [f"{number:03d}.jpg" for number in range(30)]


def test_flows_and_drivers_killed_during_a_step_come_back_to_the_same_tables(site, cleaned):
    """Without a cluster a step dies with its flow's process, and is done again; on a cluster it goes on."""
    here, there, again = (copy(site, cleaned, name, f"{step}/") for name, step in KILLED.items())
    lost = begin_step(site, "dedup", here, {"backend": "local", "poll_s": 1.0})
    kill_flow(site, lost)
    kept = begin_step(site, "filter", there, site.target)
    kill_flow(site, kept)
    for flow_run_id in (lost, kept):
        site.start_again(flow_run_id)
    until(lambda: site.prefect.flow_run(kept)["run_count"] > 1, "the run to come back")
    assert finish(site, kept) == "Completed", site.prefect.flow_run(kept)["state"]
    assert [job["status"] for job in site.jobs(kept)] == ["SUCCEEDED"]

    followed = begin_step(site, "dedup", again, site.target)
    os.kill(site.driver(site.jobs(followed)[0]["submission_id"]), signal.SIGKILL)
    assert finish(site, followed) == "Completed"
    assert [job["status"] for job in site.jobs(followed)] == ["FAILED", "SUCCEEDED"]
    assert finish(site, lost) == "Completed", site.prefect.flow_run(lost)["state"]
    for out in (here, there, again):
        assert tables(out) == tables(cleaned)


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
    kill_flow(site, crashed)
    zombie, zombie_job = begin(site, bucket, "zombie", delay_s=3.0)
    site.runner.kill()
    site.runner.start()
    time.sleep(3)
    assert site.state(zombie) == "Running"
    assert [site.job_status(job_id) for job_id in (crashed_job, zombie_job)] == ["RUNNING", "RUNNING"]

    for flow_run_id, job_id in ((crashed, crashed_job), (zombie, zombie_job)):
        # A busy machine sends a heartbeat late, and a run that lives is started again as well: more than once will do.
        until(lambda run=flow_run_id: site.prefect.flow_run(run)["run_count"] > 1, "the run to come back")
        until(lambda run=flow_run_id, job=job_id: f"Job {job} is RUNNING" in site.prefect.logs(run), "the job")
    for flow_run_id, out in ((crashed, "crashed"), (zombie, "zombie")):
        assert finish(site, flow_run_id) == "Completed"
        assert [job["status"] for job in site.jobs(flow_run_id)] == ["SUCCEEDED"]
        report = site.verified(f"{bucket}/{out}")
        assert (report.embedded, report.duplicated, report.ok, report.complete) == (ROWS, 0, True, True)
    assert site.alive(crashed, zombie) == []
    site.prefect.delete("automations", name=quick["name"])


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
        for dry_run, deed, said, status in (
            (True, "would stop", "to stop", "RUNNING"),
            (False, "stopped", "stopped", "STOPPED"),
        ):
            reaped = reap(target, grace_s=0, dry_run=dry_run, return_state=True)
            shown = site.prefect.artifacts(str(reaped.state_details.flow_run_id))["reap-jobs"]["data"]
            rows = {row["job"]: row for row in json.loads(shown)}
            assert (rows[job_id]["what"], rows["by-hand"]["what"]) == (deed, "left alone")
            # Jobs that other tests left may be among them.
            count = sum(row["what"] == deed for row in rows.values())
            assert reaped.message == f"{len(rows)} jobs alive, {count} {said}"
            assert site.job_status(job_id) == status
            assert site.job_status("by-hand") in ("PENDING", "RUNNING")
    assert "submitted by hand" in rows["by-hand"]["flow run"]
    site.head.request("POST", "/api/jobs/by-hand/stop")
