"""CPU seconds by the role of a process and by the kind of a driver's thread, from /proc, on this machine."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_RAYLET, _HEAD = "raylet/raylet", "gcs_server"


def cpu_by_role() -> Mapping[str, float]:
    """CPU seconds so far of this process, and of each kind of process that its Ray has started."""
    stats = {int(entry.name): _stat(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    parents = {pid: int(fields[1]) for pid, fields in stats.items() if fields}
    used = defaultdict[str, float](float)
    for pid in parents:
        if _descends(pid, parents):
            used[_role(pid)] += _seconds(stats[pid])
    return used


def cpu_of_threads() -> Mapping[str, float]:
    """CPU seconds so far of this process's main thread, of its other Python threads, and of Ray's threads."""
    python = {thread.native_id for thread in threading.enumerate()}
    used = {"main": 0.0, "python": 0.0, "ray": 0.0}
    for task in Path("/proc/self/task").iterdir():
        number = int(task.name)
        kind = "main" if number == os.getpid() else "python" if number in python else "ray"
        used[kind] += _seconds(_stat(task))
    return used


def _descends(pid: int, parents: Mapping[int, int]) -> bool:
    while pid not in (0, os.getpid()):
        pid = parents.get(pid, 0)
    return pid != 0


def _role(pid: int) -> str:
    if pid == os.getpid():
        return "driver"
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        if command.startswith("ray::"):
            return command.split()[0].removeprefix("ray::").partition(".")[0]
        return next((name for name in (_RAYLET, _HEAD) if name in command), "Ray's daemons").rpartition("/")[2]
    return "ended"


def _stat(entry: Path) -> list[str]:
    """Fields of its `stat` from the state on; empty if it is gone."""
    with suppress(OSError):
        return (entry / "stat").read_text().rpartition(")")[2].split()
    return []


def _seconds(fields: list[str]) -> float:
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else 0.0
