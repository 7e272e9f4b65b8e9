"""CPU seconds by the role of a process and by the kind of a driver's thread, from /proc, on this machine."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from actors.machine.local.process_table import all_stats, command_of, descendants, stat_of

_RAYLET, _HEAD = "raylet/raylet", "gcs_server"


def cpu_by_role() -> Mapping[str, float]:
    """CPU seconds so far of this process, and of each kind of process that its Ray has started."""
    stats = all_stats()
    used = defaultdict[str, float](float)
    for pid in (os.getpid(), *descendants([os.getpid()], stats)):
        used[_role(pid)] += stats[pid].cpu_s
    return used


def cpu_of_threads() -> Mapping[str, float]:
    """CPU seconds so far of this process's main thread, of its other Python threads, and of Ray's threads."""
    python = {thread.native_id for thread in threading.enumerate()}
    used = {"main": 0.0, "python": 0.0, "ray": 0.0}
    for task in Path("/proc/self/task").iterdir():
        number = int(task.name)
        kind = "main" if number == os.getpid() else "python" if number in python else "ray"
        if stat := stat_of(task):
            used[kind] += stat.cpu_s
    return used


def _role(pid: int) -> str:
    if pid == os.getpid():
        return "driver"
    command = command_of(pid)
    if not command:
        return "ended"
    if command.startswith("ray::"):
        return command.split()[0].removeprefix("ray::").partition(".")[0]
    return next((name for name in (_RAYLET, _HEAD) if name in command), "Ray's daemons").rpartition("/")[2]
