"""Processes in sessions of their own: wait for them, list them, end them by their pids."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEADLINE_S = 180.0


def until(condition: Callable[[], Any], what: str, within_s: float = DEADLINE_S) -> Any:
    """What `condition` gives as soon as it is true."""
    end_s = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < end_s, f"waited {within_s:.0f} s in vain for {what}"
        time.sleep(0.2)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def session_pids(leader: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # Behind the name, which is in brackets: state, parent, group, session.
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(stat[3]) == leader and stat[0] != "Z":
                    found.append(int(entry.name))
    return found


def runs_a_flow(pid: int) -> bool:
    """Whether a process is one of Prefect's that runs a flow."""
    with contextlib.suppress(OSError):
        return b"prefect" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def end_session(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal a session's leader, give it some seconds, then kill what is left of the session."""
    if number == signal.SIGKILL:
        for pid in session_pids(process.pid):
            _kill(pid)
    else:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        for pid in session_pids(process.pid):
            _kill(pid)
    process.wait(15)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
