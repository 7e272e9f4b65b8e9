"""Processes that outlive the command that started them: start, recognise, end.

In: a command line. Out: an `OwnProcess`, which identifies a process by pid *and* start time, so that a pid which the
system has reused is never signalled. Each process passes a marker on in its environment; processes that outlive their
parent (a Ray worker, a flow's process) are found by it. Ray's agents write their title over their environment; they are
found by the session that the stack's process started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, Field

MARK = "HANCLIP_DEV_STACK"
SERVICE_MARK = "HANCLIP_DEV_SERVICE"
#: How long the kernel may take to remove a killed process.
_KILLED_S = 5.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class OwnProcess(BaseModel):
    """A process that this stack started."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int = Field(gt=1, description="Process id.")
    started: int = Field(description="Clock ticks between the boot of the machine and the start of the process.")

    @property
    def start_time(self) -> datetime:
        """When it started."""
        return datetime.fromtimestamp(psutil.boot_time() + self.started / _TICKS_PER_S, UTC)

    @property
    def alive(self) -> bool:
        """Whether it runs and is still the process that was started."""
        return _start_ticks(self.pid) == self.started


def spawn(command: Sequence[str], env: Mapping[str, str], log: Path, folder: Path) -> OwnProcess:
    """Start a process in its own session, with its output in `log` and `folder` as its working directory."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command), cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    started = _start_ticks(process.pid)
    return OwnProcess(pid=process.pid, started=-1 if started is None else started)


def end(processes: Iterable[OwnProcess], wait_s: float) -> None:
    """Send SIGTERM to each living process, in order, and SIGKILL to those that still live after `wait_s`."""
    living = [process for process in processes if process.alive]
    for process in living:
        _signal(process, signal.SIGTERM)
    _wait(living, wait_s)
    for process in living:
        _signal(process, signal.SIGKILL)
    # Until then its ports are taken.
    _wait(living, _KILLED_S)


def descendants(mark: str, leaders: Iterable[OwnProcess] = (), service: str | None = None) -> list[OwnProcess]:
    """Every process of this user that carries the marker (of one service, if given) or is in a session of `leaders`."""
    sessions = {leader.pid for leader in leaders if _start_ticks(leader.pid) in (None, leader.started)}
    found = []
    for process in psutil.process_iter(["environ"]):
        environ = process.info["environ"] or {}
        carries = environ.get(MARK) == mark and service in (None, environ.get(SERVICE_MARK))
        if carries or _session(process.pid) in sessions:
            started = _start_ticks(process.pid)
            if started is not None:
                found.append(OwnProcess(pid=process.pid, started=started))
    return found


def _session(pid: int) -> int | None:
    """The session of a process: the pid of its leader, which is not given to another process while a member lives."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _wait(processes: Sequence[OwnProcess], wait_s: float) -> None:
    deadline_s = time.monotonic() + wait_s
    while any(process.alive for process in processes) and time.monotonic() < deadline_s:
        time.sleep(0.1)


def _signal(process: OwnProcess, number: int) -> None:
    if process.alive:
        with suppress(ProcessLookupError):  # It may end between the check and the call.
            os.kill(process.pid, number)


def _start_ticks(pid: int) -> int | None:
    """When the process started; None when it is gone or a zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            _reap(pid)
            return None
        # Both times contain the boot time; the difference is exact, also after the clock was set.
        return round((process.create_time() - psutil.boot_time()) * _TICKS_PER_S)
    except psutil.NoSuchProcess:
        return None


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):  # Another process's child.
        os.waitpid(pid, os.WNOHANG)
