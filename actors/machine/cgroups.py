"""Reads the limits of this process's control groups: its own group and every group above it, cgroup v2 and v1.

In: `/proc/self/cgroup` and the file systems under `/sys/fs/cgroup`. Out: the smallest limit. A service of systemd, a
job of SLURM and a pod set theirs on a nested group, so the root alone shows none of them. Groups that this process
cannot see, outside its container, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: cgroup v1 reports its absence of a limit as the largest multiple of a page.
_UNLIMITED_BYTES = 2**62


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The control groups of this process.

    Attributes:
        root: of the file system; another one in tests.
    """

    root: Path = Path("/")

    def free_memory_bytes(self) -> int | None:
        """Bytes that this process and its children may still use, page cache counted as free; None without a limit."""
        free = [room for folder in self._folders("memory") if (room := _room_bytes(folder)) is not None]
        return min(free, default=None)

    def cpus(self) -> float | None:
        """The smallest quota, in cores; None if there is none."""
        quotas = [quota for folder in self._folders("cpu") if (quota := _quota(folder)) is not None]
        return min(quotas, default=None)

    def oom_kills(self) -> int:
        """Processes of this process's group that the kernel has killed for lack of memory; without one, of the machine.

        The group's counter includes the groups below it.
        """
        for folder in self._folders("memory"):
            for name in ("memory.events", "memory.oom_control"):
                if (kills := _counters(folder / name).get("oom_kill")) is not None:
                    return kills
        return _counters(self.root / "proc/vmstat").get("oom_kill", 0)

    def _folders(self, controller: str) -> Iterator[Path]:
        """Folders with the files of `controller`, from this process's group up to the root."""
        for line in _read(self.root / "proc/self/cgroup").splitlines():
            _, names, group = line.split(":", 2)
            if not names:
                mounts = [Path("sys/fs/cgroup"), Path("sys/fs/cgroup/unified")]
            elif controller in names.split(","):
                mounts = [Path("sys/fs/cgroup", controller), Path("sys/fs/cgroup", names)]
            else:
                continue
            for mount in mounts:
                path = Path(group.lstrip("/"))
                for part in (path, *path.parents):
                    folder = self.root / mount / part
                    if folder.is_dir():
                        yield folder


def _limit_bytes(folder: Path) -> int | None:
    limits = [_number(folder / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")]
    return min((limit for limit in limits if limit is not None and limit < _UNLIMITED_BYTES), default=None)


def _room_bytes(folder: Path) -> int | None:
    limit = _limit_bytes(folder)
    if limit is None:
        return None
    used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
    statistics = _counters(folder / "memory.stat")
    cache = statistics.get("total_inactive_file", statistics.get("inactive_file", 0))
    return max(0, limit - max(0, used - cache))


def _quota(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    if not quota.isdigit() or not period.isdigit():
        return None  # `max` or -1
    return int(quota) / int(period)


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text.isdigit() else None


def _counters(path: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    pairs = (line.split() for line in _read(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
