"""The start of a local Ray: tried again, interruptible, and named when it fails. No Ray is started here."""

from __future__ import annotations

import atexit
import errno
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import services
from ray._private.node import Node

from actors.machine.local import local_ray
from actors.machine.local import processes as processes_module
from actors.machine.local.local_ray import start
from actors.machine.local.processes import fewer_processes, processes, refusing_port, without_agents
from actors.machine.local.ray_folder import RayFolder, make_ray_folder
from actors.stopping import StopSignal
from pipeline.errors import RunError
from tests.fixtures.processes import until

TIMED_OUT = "The current node timed out during startup."


@pytest.fixture
def folder() -> Iterator[RayFolder]:
    folder = make_ray_folder()
    yield folder
    atexit.register(ray.shutdown, _exiting_interpreter=True)  # an interrupted start gives it up
    folder._keep_logs = False
    folder.remove()


def failing(times: int, error: Exception) -> tuple[Callable[[], None], list[float]]:
    """A start that fails so often, and when it was called."""
    calls: list[float] = []

    def init() -> None:
        calls.append(time.monotonic())
        if len(calls) <= times:
            raise error

    return init, calls


def start_here(init: Callable[[], None], folder: RayFolder) -> None:
    with StopSignal() as stop:
        ended = threading.Event()
        try:
            start(init, lambda: None, folder, stop, ended)
        finally:
            ended.set()


def test_a_start_that_failed_is_tried_again(folder: RayFolder, caplog: pytest.LogCaptureFixture) -> None:
    init, calls = failing(2, Exception(TIMED_OUT))
    start_here(init, folder)
    assert len(calls) == 3
    assert "attempt 1 of 3" in caplog.text
    assert TIMED_OUT in caplog.text


def test_a_start_that_always_fails_is_an_error_with_the_cure_and_the_place_of_the_logs(folder: RayFolder) -> None:
    init, calls = failing(99, Exception(TIMED_OUT))
    with pytest.raises(RunError, match=f"{TIMED_OUT} The machine may be overloaded.*{folder.path}"):
        start_here(init, folder)
    assert len(calls) == 3


def test_a_full_disk_is_not_tried_again(folder: RayFolder) -> None:
    init, calls = failing(99, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(RunError, match="No space left on device"):
        start_here(init, folder)
    assert len(calls) == 1


def test_a_signal_ends_a_start_that_hangs(folder: RayFolder) -> None:
    hung = threading.Event()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    began_s = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        start_here(lambda: hung.wait(60) and None, folder)
    hung.set()
    assert ended.value.code == 128 + signal.SIGTERM
    assert time.monotonic() - began_s < 5


def test_a_head_process_that_dies_during_the_start_is_named(folder: RayFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_ray, "_CHECK_S", 0.05)
    hung = threading.Event()
    title = f"{folder.path}/gcs_server"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", title]) as head:
        until(lambda: head.pid in processes(folder.path), "the process")
        threading.Timer(0.5, head.kill).start()
        threading.Timer(0.6, head.wait).start()
        with pytest.raises(RunError, match="head process was killed while it started"):
            start_here(lambda: hung.wait(60) and None, folder)
    hung.set()


def test_a_node_that_is_still_starting_is_waited_for(folder: RayFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process stands in for the node; Ray's own look-up raises until the node has registered."""
    looked: list[str] = []

    def look_up(node: str) -> str:
        looked.append(node)
        if len(looked) % 4:
            raise RuntimeError("not registered")
        return "registered"

    monkeypatch.setattr(services, "get_node", look_up)
    monkeypatch.setattr(local_ray, "_POLL_S", 0.01)
    title = f"{folder.path}/raylet/raylet"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", title]) as node:
        until(lambda: title in (processes(folder.path).get(node.pid) or ""), "the process")
        with local_ray._patience(folder.path):
            assert services.get_node("n") == "registered"
            node.kill()
            node.wait()
            with pytest.raises(RuntimeError, match="not registered"):
                services.get_node("n")
    assert services.get_node is look_up


def test_processes_that_a_local_ray_does_not_need_are_left_out_during_its_start_alone() -> None:
    node = object.__new__(Node)
    names = ("start_monitor", "start_api_server", "start_log_monitor")
    originals = {name: getattr(Node, name) for name in names}
    with fewer_processes():
        assert [getattr(node, name)(include_dashboard=False, raise_on_failure=True) for name in names] == [None] * 3
    assert {name: getattr(Node, name) for name in names} == originals


def test_in_place_of_the_agents_a_shell_waits_for_the_end_of_the_raylet(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def start_process(command: list[str], *_: Any, **__: Any) -> None:
        started.append(command)

    monkeypatch.setattr(services, "start_ray_process", start_process)
    start_raylet = services.start_raylet
    with refusing_port() as port:
        with without_agents(port):
            services.start_ray_process(
                ["raylet", "--dashboard_agent_command=python agent.py", "--head"], "raylet", True
            )
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
    assert (services.start_raylet, services.start_ray_process) == (start_raylet, start_process)
    [[raylet, agent, head]] = started
    option, _, command = agent.partition("=")
    assert (raylet, option, head) == ("raylet", "--dashboard_agent_command", "--head")
    parent = f"import subprocess; print(subprocess.Popen({shlex.split(command)}).pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        status = Path("/proc", str(pid), "status")
        until(lambda: int(status.read_text().partition("SigCgt:")[2].split()[0], 16) & 2, "the shell's readiness")
        os.kill(pid, signal.SIGINT)
        time.sleep(0.2)
        assert "State:\tZ" not in status.read_text()
        process.kill()
        process.wait()  # a dead parent is there until then
        until(lambda: not status.exists(), "the end of the shell")


@pytest.mark.parametrize("cause", ["", "RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_RUNTIME_ENV_HOOK", "uv run"])
def test_the_first_attempt_starts_the_agents_where_ray_adds_a_runtime_env(
    cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cause == "uv run":
        monkeypatch.setattr(processes_module, "_get_uv_run_cmdline", cause.split)
    elif cause:
        monkeypatch.setenv(cause, "{}")
    start_raylet = services.start_raylet
    agents = local_ray._agents(1)
    for has_agents in (bool(cause), True):
        with next(agents):
            assert (services.start_raylet is start_raylet) == has_agents


def starting_worker(path: Path) -> int:
    """The pid of a worker of a Ray that uses the folder, started by another process, which has ended."""
    wait = "import time; time.sleep(60)"
    command = [sys.executable, "-c", wait, "default_worker.py", f"--object-store-name={path}/sockets/plasma_store"]
    quiet = "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL"  # or it would keep this test's pipes open
    parent = f"import subprocess; print(subprocess.Popen({command}, {quiet}).pid)"
    return int(subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True).stdout)


def test_workers_that_start_too_late_are_ended_whoever_started_them(folder: RayFolder, tmp_path: Path) -> None:
    pid, pid_elsewhere = starting_worker(folder.path), starting_worker(tmp_path)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", f"{folder.path}/logs"])
    RayFolder(tmp_path, None, temporary=False).remove()  # a folder that other Rays may use
    RayFolder(folder.path, None, temporary=True).remove()
    until(lambda: not Path("/proc", str(pid), "cmdline").exists(), "the end of the worker")
    os.kill(pid_elsewhere, signal.SIGKILL)
    with other:
        assert other.poll() is None
        other.kill()
