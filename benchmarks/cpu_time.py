"""CPU seconds of a process and all its descendants, including daemons and dead processes.

    meter = make_meter(); subprocess.Popen(..., preexec_fn=meter.join); meter.seconds(root_pid)

A dedicated control group (cgroup v1 `cpuacct` or v2 `cpu.stat`) counts exactly, but needs root. Otherwise the process
tree is read from /proc at every call, which misses what a process used between the last call and its end. Machine-wide
counters would include other users.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from actors.machine.local.process_table import all_stats, descendants, stat_of

_V1 = Path("/sys/fs/cgroup/cpuacct")
_V2 = Path("/sys/fs/cgroup")


class CpuMeter(Protocol):
    """Counts the CPU time of one process and its descendants."""

    method: str

    def join(self) -> None:
        """Call in the process to be measured, before it starts others."""

    def seconds(self, root: int) -> float:
        """CPU seconds, user and system, used so far by process `root` and its descendants."""

    def living(self, root: int) -> list[int]:
        """Ids of the processes that are alive."""

    def close(self) -> None:
        """Drop the processes, which have ended."""


def make_meter() -> CpuMeter:
    """The exact meter if a group can be created, else the one that reads /proc."""
    for parent, file in ((_V1, "cpuacct.usage"), (_V2, "cpu.stat")):
        if (parent / file).exists():
            with suppress(OSError):
                return GroupMeter(parent, file)
    return TreeMeter()


class GroupMeter:
    """Reads the CPU usage of a dedicated control group."""

    def __init__(self, parent: Path, file: str) -> None:
        self.method = f"cgroup {file}"
        self._folder = parent / f"hanclip-benchmark-{uuid.uuid4().hex[:8]}"
        self._folder.mkdir()
        self._usage = self._folder / file

    def join(self) -> None:
        """See `CpuMeter`."""
        (self._folder / "cgroup.procs").write_text(str(os.getpid()))

    def seconds(self, root: int) -> float:
        """See `CpuMeter`; the kernel tracks the group, so `root` is unused."""
        text = self._usage.read_text()
        return int(text) / 1e9 if self._usage.name == "cpuacct.usage" else int(text.split()[1]) / 1e6

    def living(self, root: int) -> list[int]:
        """See `CpuMeter`."""
        return [int(pid) for pid in (self._folder / "cgroup.procs").read_text().split()]

    def close(self) -> None:
        """See `CpuMeter`. A group with members is kept."""
        with suppress(OSError):
            self._folder.rmdir()


class TreeMeter:
    """Adds up /proc/<pid>/stat over a process tree; keeps the last reading of processes that ended."""

    method = "/proc/<pid>/stat of the process tree"

    def __init__(self) -> None:
        self._used_s: dict[tuple[int, int], float] = {}
        self._known: set[int] = set()

    def join(self) -> None:
        """See `CpuMeter`."""

    def seconds(self, root: int) -> float:
        """See `CpuMeter`. Call it several times a second."""
        for pid in self.living(root):
            if stat := stat_of(Path("/proc", str(pid))):
                self._used_s[pid, stat.started_ticks] = stat.cpu_s
        return sum(self._used_s.values())

    def living(self, root: int) -> list[int]:
        """See `CpuMeter`. A daemon remains tracked after its parent ended, once it was seen."""
        stats = all_stats()
        known = (self._known | {root}) & stats.keys()
        self._known = known.union(descendants(known, stats))
        return sorted(self._known)

    def close(self) -> None:
        """See `CpuMeter`."""
