"""Everything that a night needs, for real: a Prefect server, a Ray head with tokens, an S3 server, a runner of flows.

The jobs reach S3 through a proxy, which counts what they read and reads pictures as slowly as a test wants, so that
there is time to kill something. The flows reach Ray's dashboard through another one, which a test can take away.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect_server import PrefectServer, Runner, until
from ray_head import RayHead, processes_below
from s3_server import FaultyProxy, S3Server, client
from slow_pictures import SlowPictures

from pipeline.dataset.checks.verify import Report, verify

FLOWS = ("backfill", "dedup", "embed", "filter", "nightly", "reap")
_SERVING = f"""
from prefect import serve
from flows import scheduled

serve(
    *(getattr(scheduled, name).to_deployment("test", tags=["hanclip"]) for name in {FLOWS}),
    pause_on_shutdown=False,
    print_starting_message=False,
)
"""


@dataclass
class FlowSite:
    """The parts, running; `open_site` starts and stops them."""

    prefect: PrefectServer
    head: RayHead
    s3: S3Server
    proxy: SlowPictures
    dashboard: FaultyProxy
    runner: Runner
    deployments: dict[str, str] = field(default_factory=dict)
    dashboards: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def target(self) -> dict[str, Any]:
        """The `target` of the flows: quick to notice."""
        return {
            "backend": "ray",
            "address": self.dashboard.endpoint,
            "python": sys.executable,
            "poll_s": 1.0,
            "stop_wait_s": 15.0,
            "lost_after_s": 120.0,
        }

    def bucket(self) -> str:
        return self.s3.bucket()

    def put(self, bucket: str, pictures: dict[str, bytes]) -> None:
        """Store pictures under `photos/`."""
        store = client(self.s3.endpoint)
        for name, content in pictures.items():
            store.put_object(Bucket=bucket.removeprefix("s3://"), Key=f"photos/{name}", Body=content)

    def remove(self, bucket: str, names: Sequence[str]) -> None:
        for name in names:
            client(self.s3.endpoint).delete_object(Bucket=bucket.removeprefix("s3://"), Key=f"photos/{name}")

    def config(self, bucket: str, out: str = "out", **source: object) -> dict[str, Any]:
        """What to embed: the pictures of `bucket`, one at a time, so that the proxy's delay adds up."""
        return {
            "source": {"uris": [f"{bucket}/photos/"], "read_concurrency": 1, **source},
            "model": {"name": "demo"},
            "output": {"uri": f"{bucket}/{out}"},
            "cluster": {"decoders": 1, "embedders": 1},
        }

    def start(self, flow: str, **parameters: object) -> str:
        """Make a flow run as the UI does; gives its id."""
        body = {"parameters": {"target": self.target, **parameters}, "state": {"type": "SCHEDULED"}}
        made = self.prefect.call("POST", f"/deployments/{self.deployments[flow]}/create_flow_run", body)
        return str(made["id"])

    def night(self) -> dict[str, Any]:
        """Give `nightly` a schedule that is soon due, and wait for the end of the run that the scheduler makes."""
        deployment = f"/deployments/{self.deployments['nightly']}"
        soon = datetime.now(UTC) + timedelta(seconds=4)
        schedule = {"interval": 86400.0, "anchor_date": soon.isoformat(), "timezone": "UTC"}
        (made,) = self.prefect.call("POST", f"{deployment}/schedules", [{"active": True, "schedule": schedule}])

        def begun() -> str:
            runs = self.prefect.flow_runs(expected_start_time={"after_": (soon - timedelta(seconds=2)).isoformat()})
            return next(
                (run["id"] for run in runs if run["state"]["type"] != "SCHEDULED" and run["auto_scheduled"]), ""
            )

        flow_run_id = until(begun, f"a scheduled run; {self.runner.log()}")
        self.prefect.call("DELETE", f"{deployment}/schedules/{made['id']}")
        return self.ended(flow_run_id)

    def embedders(self) -> int:
        """How many embedders the cluster has ever had."""
        answer = self.head.request("GET", "/api/v0/actors?limit=10000&detail=1")
        return sum("Embedder" in actor["class_name"] for actor in answer["data"]["result"]["result"])

    def start_again(self, flow_run_id: str) -> None:
        """As the automation against zombies does it."""
        body = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True}
        self.prefect.call("POST", f"/flow_runs/{flow_run_id}/set_state", body)

    def state(self, flow_run_id: str) -> str:
        return str(self.prefect.flow_run(flow_run_id)["state"]["name"])

    def ended(self, flow_run_id: str) -> dict[str, Any]:
        """The flow run, when it is over."""
        over = {"Completed", "Failed", "Cancelled", "Crashed"}
        until(lambda: self.state(flow_run_id) in over, f"the end of {flow_run_id}; {self.runner.log()}")
        return self.prefect.flow_run(flow_run_id)

    def jobs(self, flow_run_id: str) -> list[dict[str, Any]]:
        """Ray's jobs of a flow run, oldest first."""
        jobs = [job for job in self.head.request("GET", "/api/jobs/") if job["type"] == "SUBMISSION"]
        mine = [job for job in jobs if (job["metadata"] or {}).get("flow_run_id") == flow_run_id]
        return sorted(mine, key=lambda job: job["start_time"])

    def running(self, flow_run_id: str, count: int = 1) -> list[str]:
        """Ids of the jobs of a flow run, as soon as there are `count` and pictures are read."""

        def found() -> list[str]:
            assert self.state(flow_run_id) not in ("Failed", "Crashed"), self.prefect.flow_run(flow_run_id)["state"]
            jobs = [job["submission_id"] for job in self.jobs(flow_run_id) if job["status"] == "RUNNING"]
            return jobs if len(jobs) == count else []

        jobs: list[str] = until(found, f"{count} jobs; {self.runner.log()}")
        before = len(self.proxy.requests)
        until(lambda: any(".jpg" in line for line in self.proxy.requests[before:]), "a picture to be read")
        return jobs

    def job_status(self, job_id: str) -> str:
        return str(self.head.request("GET", f"/api/jobs/{job_id}")["status"])

    def driver(self, job_id: str) -> int:
        """Pid of the driver of a job."""
        word = job_id.encode()
        pids = [pid for pid, words in commands() if b"actors.driver" in words and any(word in one for one in words)]
        assert len(pids) == 1, pids
        return pids[0]

    def restart_dashboard(self, away_s: float) -> None:
        """End the head's dashboard with its Jobs API, and after a while start another: Ray does not do so itself."""
        inside = set(processes_below(self.head.folder))
        (pid, words), *_ = [(pid, words) for pid, words in commands() if pid in inside and _is_dashboard(words)]
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        env = dict(variable.split(b"=", 1) for variable in variables if b"=" in variable)
        # Ray takes an end by SIGTERM as wanted; after any other it ends the whole node.
        os.kill(pid, signal.SIGTERM)
        until(lambda: pid not in dict(commands()), "the end of the dashboard")
        time.sleep(away_s)
        with (self.head.folder / "dashboard.log").open("wb") as log:
            self.dashboards.append(subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        until(self._has_dashboard, "another dashboard")

    def _has_dashboard(self) -> bool:
        try:
            self.head.request("GET", "/api/jobs/")
        except OSError:
            return False
        return True

    def alive(self) -> list[str]:
        """Ids of Ray's jobs that are not over."""
        jobs = self.head.request("GET", "/api/jobs/")
        return [
            job["submission_id"] for job in jobs if job["status"] in ("PENDING", "RUNNING") and job["submission_id"]
        ]

    def verified(self, out: str) -> Report:
        """The audit of what was written, read past the proxies."""
        return verify(out)


def commands() -> list[tuple[int, list[bytes]]]:
    """Pid and words of every living process of this machine."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")[:-1]
        except OSError:
            continue  # It ended meanwhile.
        if words:
            found.append((int(entry.name), words))
    return found


def _is_dashboard(words: list[bytes]) -> bool:
    return any(word.endswith(b"dashboard/dashboard.py") for word in words)


@contextmanager
def open_site(prefect: PrefectServer, s3: S3Server, folder: Path) -> Iterator[FlowSite]:
    """Start what is missing, register the flows, and end all that was started."""
    with ExitStack() as stack:
        proxy = SlowPictures(s3.endpoint)
        proxy.start()
        stack.callback(proxy.stop)
        storage = {**s3.env, "AWS_ENDPOINT_URL": proxy.endpoint}
        # More than this machine has: two jobs at once must not wait for each other.
        head = RayHead(num_cpus=4, env=storage)
        head.start()
        stack.callback(head.stop)
        dashboard = FaultyProxy(head.dashboard)
        dashboard.start()
        stack.callback(dashboard.stop)
        env = {**storage, **head.client_env, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
        runner = Runner(prefect, folder, _SERVING, env)
        stack.enter_context(runner)
        site = FlowSite(prefect, head, s3, proxy, dashboard, runner)
        for flow in FLOWS:
            site.deployments[flow] = until(lambda flow=flow: _deployment(prefect, flow), f"{flow}; {runner.log}")
        stack.callback(lambda: [end_process(process) for process in site.dashboards])
        here = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in s3.env.items():
            here.setenv(name, value)
        yield site


def end_process(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _deployment(prefect: PrefectServer, flow: str) -> str:
    body = {"deployments": {"name": {"any_": ["test"]}}, "flows": {"name": {"any_": [flow]}}}
    found = prefect.call("POST", "/deployments/filter", body)
    return str(found[0]["id"]) if found else ""
