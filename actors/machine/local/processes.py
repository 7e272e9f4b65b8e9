"""The processes of a local Ray: which of them start at all, which run, and how they are ended.

A raylet insists on two agents in Python, one for metrics and one for what a `runtime_env` names, neither of which a
local Ray needs unless Ray itself adds a `runtime_env`. It waits for the files in which they name their ports, which was
most of Ray's start, and ends when one of them ends. In their place a shell waits for the raylet's end, and the files
name a port where nobody listens.
"""

from __future__ import annotations

import atexit
import inspect
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from ray._private import services
from ray._private.node import Node
from ray._private.ray_constants import RAY_ENABLE_UV_RUN_RUNTIME_ENV, RAY_RUNTIME_ENV_HOOK
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray._private.runtime_env.uv_runtime_env_hook import _get_uv_run_cmdline

from actors.exiting import exit_at_once
from actors.machine.local.process_table import all_stats, command_of, descendants

#: Processes for autoscaling, for a dashboard, and for workers' output in the driver, none of which a local Ray needs.
#: Each would take one to two seconds of CPU to start.
_UNUSED = ("start_monitor", "start_api_server", "start_log_monitor")
_AGENTS = ("--dashboard_agent_command", "--runtime_env_agent_command")
#: A terminal sends Ctrl-C to the shell, too.
_WAITING = "sh -c 'trap : INT; while kill -0 $PPID 2>/dev/null; do sleep 1; done'"
_PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
_WORKER = "default_worker.py"
_KILLS = 5
_KILL_EVERY_S = 0.1


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port of this machine where nobody listens, nor will while the block runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def fewer_processes() -> Iterator[None]:
    """Let a node start without `_UNUSED`; `ray start` has options for them, `ray.init` has none."""
    originals = {name: getattr(Node, name) for name in _UNUSED}
    for name in _UNUSED:
        setattr(Node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(Node, name, original)


def needs_agents() -> bool:
    """Whether `ray.init` adds a `runtime_env`: of the job that this process is, of the user's hook, or of `uv run`.

    Without the agent the start would succeed, and no actor would ever be ready.
    """
    named = {RAY_JOB_CONFIG_JSON_ENV_VAR, RAY_RUNTIME_ENV_HOOK} & os.environ.keys()
    return bool(named) or (RAY_ENABLE_UV_RUN_RUNTIME_ENV and bool(_get_uv_run_cmdline()))


@contextmanager
def without_agents(port: int) -> Iterator[None]:
    """Let a node start without its agents, which would listen at `port`: see above."""
    raylet, process = services.start_raylet, services.start_ray_process

    def start_raylet(*positional: Any, **named: Any) -> Any:
        given = inspect.signature(raylet).bind(*positional, **named).arguments
        for name in _PORTS:
            Path(given["session_dir"], f"{name}_{given['node_id']}").write_text(str(port))
        return raylet(**given | dict.fromkeys(_PORTS, port))

    def start_process(command: list[str], *positional: Any, **named: Any) -> Any:
        names = [word.partition("=")[0] for word in command]
        words = [f"{name}={_WAITING}" if name in _AGENTS else word for name, word in zip(names, command, strict=True)]
        return process(words, *positional, **named)

    services.start_raylet, services.start_ray_process = start_raylet, start_process
    try:
        yield
    finally:
        services.start_raylet, services.start_ray_process = raylet, process


def is_starting(path: Path) -> bool:
    """Whether a raylet that uses the folder runs."""
    return any("raylet/raylet" in command for command in processes(path).values())


def kill(path: Path) -> None:
    """End Ray's processes, and those that the abandoned start may still be about to start."""
    for _ in range(_KILLS):
        for pid in processes(path):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_KILL_EVERY_S)


def end_workers(path: Path) -> None:
    """End the workers that were still starting when Ray ended: they would write to its folder.

    Args:
        path: a folder that only this Ray used.
    """
    for pid, command in _using(path).items():
        if _WORKER in command:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def processes(path: Path) -> dict[int, str]:
    """Command lines of this process's children that use the folder, by pid."""
    return _using(path, os.getpid())


def _using(path: Path, parent: int | None = None) -> dict[int, str]:
    """Command lines of the processes, or only of the children of `parent`, that use the folder, by pid."""
    pids = [pid for pid, stat in all_stats().items() if parent in (None, stat.parent)]
    commands = {pid: command_of(pid) for pid in pids}
    return {pid: command for pid, command in commands.items() if f"{path}/" in command}


def end_with_process(path: Path, started: Iterable[int], exit_code: int) -> None:
    """Stop `started`, children of this one that use the folder `path`; kill them when this process ends.

    The thread in `ray.init` cannot be ended, and its C++ code aborts this process when Ray's processes die. While they
    are only stopped, it waits for them.
    """
    _send(started, signal.SIGSTOP)
    atexit.register(partial(_end, os.getpid(), path, exit_code))


def _end(owner: int, path: Path, exit_code: int) -> None:
    if os.getpid() != owner:
        return
    exit_at_once(exit_code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    left = descendants([owner], all_stats())
    _send(left, signal.SIGSTOP)
    shutil.rmtree(path, ignore_errors=True)
    _send(left, signal.SIGKILL)
    os._exit(exit_code)


def _send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
