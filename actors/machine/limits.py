"""What this process may use of its machine or container: cores, available memory, GPUs."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cpus() -> float:
    """Cores by affinity and by the container's quota (cgroup v2 `cpu.max`, v1 `cpu.cfs_*`)."""
    cores = float(len(os.sched_getaffinity(0)))
    quota, _, period = _read("cpu.max").partition(" ")
    if not quota:
        quota, period = _read("cpu/cpu.cfs_quota_us"), _read("cpu/cpu.cfs_period_us")
    if quota in ("", "max", "-1") or not period:
        return cores
    return min(cores, int(quota) / int(period))


def available_memory_bytes() -> int:
    """Memory available to new processes: caches count as free, and the container's limit applies."""
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(meminfo["MemAvailable"].split()[0]) * 1024
    limit = _read("memory.max") or _read("memory/memory.limit_in_bytes")
    if limit in ("", "max"):
        return available
    used = int(_read("memory.current") or _read("memory/memory.usage_in_bytes") or 0)
    return max(0, min(available, int(limit) - used))


def visible_gpus() -> int:
    """Number of GPUs that CUDA would show to this process."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    driver = Path("/proc/driver/nvidia/gpus")
    return len(list(driver.iterdir())) if driver.is_dir() else 0


def _read(name: str) -> str:
    path = _CGROUP / name
    return path.read_text().strip() if path.is_file() else ""
