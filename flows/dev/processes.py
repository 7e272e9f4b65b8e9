"""Processes that outlive the command that started them: start, recognise, end.

In: a command line. Out: an `OwnProcess`, which names a process by pid *and* start time, so that a pid which the system
gave to somebody else is never signalled. Everything that a process starts inherits a mark in its environment; whatever
bears the mark and outlives its parent (a worker of Ray, a flow's process) is found by it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

MARK = "HANCLIP_DEV_STACK"
_PROC = Path("/proc")
#: Field 22 of /proc/PID/stat, counted after the command's name, which may hold spaces.
_STATE, _START = 0, 19


class OwnProcess(BaseModel):
    """A process that this stack started."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int = Field(gt=1, description="Process id.")
    started: int = Field(description="Clock ticks between the boot of the machine and the start of the process.")

    @property
    def alive(self) -> bool:
        """It runs, and is the process that was started."""
        return _start_ticks(self.pid) == self.started


def spawn(command: Sequence[str], env: Mapping[str, str], log: Path, folder: Path) -> OwnProcess:
    """Start a process in a session of its own, with its output in `log` and `folder` as its working directory."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command), cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    started = _start_ticks(process.pid)
    return OwnProcess(pid=process.pid, started=-1 if started is None else started)


def end(processes: Iterable[OwnProcess], wait_s: float) -> None:
    """SIGTERM to each that is alive, in order; SIGKILL to those that are still there after `wait_s`."""
    living = [process for process in processes if process.alive]
    for process in living:
        _signal(process, signal.SIGTERM)
    deadline_s = time.monotonic() + wait_s
    while any(process.alive for process in living) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    for process in living:
        _signal(process, signal.SIGKILL)


def marked(mark: str) -> list[OwnProcess]:
    """Every process of this user whose environment bears the mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and wanted in _environment(entry).split(b"\0"):
            started = _start_ticks(int(entry.name))
            if started is not None:
                found.append(OwnProcess(pid=int(entry.name), started=started))
    return found


def _signal(process: OwnProcess, number: int) -> None:
    if process.alive:
        with suppress(ProcessLookupError):  # It may end between the look and the call.
            os.kill(process.pid, number)


def _environment(entry: Path) -> bytes:
    try:
        return (entry / "environ").read_bytes()
    except OSError:
        return b""  # Gone by now, or another user's.


def _start_ticks(pid: int) -> int | None:
    """When the process started; None when there is none, or only its unread exit code."""
    try:
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    if fields[_STATE] == b"Z":
        _reap(pid)
        return None
    return int(fields[_START])


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):  # Another process's child.
        os.waitpid(pid, os.WNOHANG)
