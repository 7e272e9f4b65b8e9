"""Limits of nested control groups, in trees laid out as systemd, SLURM and containers do."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.machine.cgroups import Cgroups
from actors.machine.limits import available_memory_bytes, visible_gpus

MB = 2**20
GB = 2**30
UNLIMITED = 9223372036854771712


def lay(root: Path, cgroup: str, files: dict[str, object]) -> Cgroups:
    """A tree with 32 GB of available memory, this /proc/self/cgroup, and these files under /sys/fs/cgroup."""
    proc = root / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 99999999 kB\nMemAvailable: 33554432 kB\n")
    (proc / "vmstat").write_text("oom_kill 5\n")
    (proc / "self" / "cgroup").write_text(cgroup)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return Cgroups(root)


SYSTEMD = {
    "system.slice/memory.max": "max",
    "system.slice/night.service/memory.max": 4 * GB,
    "system.slice/night.service/memory.current": 3 * GB,
    "system.slice/night.service/memory.stat": f"anon {GB}\ninactive_file {2 * GB}",
    "system.slice/night.service/memory.events": "low 0\noom 9\noom_kill 7",
    "system.slice/night.service/cpu.max": "150000 100000",
    "system.slice/cpu.max": "max 100000",
}
SLURM_V1 = {
    "memory/slurm/memory.limit_in_bytes": UNLIMITED,
    "memory/slurm/job_7/memory.limit_in_bytes": 2 * GB,
    "memory/slurm/job_7/memory.usage_in_bytes": 512 * MB,
    "memory/slurm/job_7/step_0/memory.limit_in_bytes": UNLIMITED,
    "memory/slurm/job_7/step_0/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2",
    "cpu,cpuacct/slurm/job_7/cpu.cfs_quota_us": 200000,
    "cpu,cpuacct/slurm/job_7/cpu.cfs_period_us": 100000,
}
CONTAINER_V2 = {"memory.max": GB, "memory.current": 0, "memory.high": 900 * MB, "cpu.max": "50000 100000"}
#: The group of the host is not there; its limit is mounted at the root.
CONTAINER_V1 = {"memory/memory.limit_in_bytes": GB, "memory/memory.usage_in_bytes": 100 * MB}


@pytest.mark.parametrize(
    ("cgroup", "files", "free", "cpus", "kills"),
    [
        ("0::/system.slice/night.service", SYSTEMD, 3 * GB, 1.5, 7),
        ("4:memory:/slurm/job_7/step_0\n2:cpu,cpuacct:/slurm/job_7\n0::/", SLURM_V1, 1536 * MB, 2.0, 2),
        ("0::/", CONTAINER_V2, 900 * MB, 0.5, 5),
        ("9:memory:/docker/0123\n", CONTAINER_V1, 924 * MB, None, 5),
        ("0::/user.slice", {}, None, None, 5),
        ("", {}, None, None, 5),
    ],
)
def test_the_smallest_limit_on_the_way_to_the_root_counts(
    cgroup: str, files: dict[str, object], free: int | None, cpus: float | None, kills: int, tmp_path: Path
) -> None:
    groups = lay(tmp_path, cgroup, files)
    assert (groups.free_memory_bytes(), groups.cpus(), groups.oom_kills()) == (free, cpus, kills)
    assert available_memory_bytes(tmp_path, {}) == (32 * GB if free is None else free)


@pytest.mark.parametrize(
    ("environment", "available"),
    [
        ({"SLURM_MEM_PER_NODE": "8192"}, 8 * GB),
        ({"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "3"}, 3 * GB),
        ({"SLURM_MEM_PER_NODE": "0"}, 32 * GB),
        ({"SLURM_MEM_PER_NODE": "all"}, 32 * GB),
    ],
)
def test_the_memory_of_a_slurm_job_counts(environment: dict[str, str], available: int, tmp_path: Path) -> None:
    lay(tmp_path, "0::/", {})
    assert available_memory_bytes(tmp_path, environment) == available


def test_the_limits_of_this_machine_are_readable() -> None:
    assert available_memory_bytes() > 0
    assert Cgroups().oom_kills() >= 0


DRIVER = [f"proc/driver/nvidia/gpus/{number}" for number in range(4)]
DEVICES = ["dev/nvidiactl", "dev/nvidia-uvm", "dev/nvidia0", "dev/nvidia1"]


@pytest.mark.parametrize(
    ("files", "environment", "gpus"),
    [
        ([], {}, 0),
        ([], {"CUDA_VISIBLE_DEVICES": "0"}, 0),
        (DRIVER, {}, 4),
        ([*DRIVER, *DEVICES], {}, 2),
        # A container on a machine with GPUs, none of which is for it.
        ([*DRIVER, ".dockerenv"], {}, 0),
        (DRIVER, {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "CUDA_VISIBLE_DEVICES": "0,1"}, 0),
        (["usr/lib/wsl/lib/libcuda.so.1"], {}, 1),
        (DEVICES, {"CUDA_VISIBLE_DEVICES": "1"}, 1),
        (DEVICES, {"CUDA_VISIBLE_DEVICES": ""}, 0),
        (DEVICES, {"CUDA_VISIBLE_DEVICES": "0,-1,1"}, 1),
        (DEVICES, {"CUDA_VISIBLE_DEVICES": "0, 1, 2, 3"}, 2),
        (DEVICES, {"CUDA_VISIBLE_DEVICES": "MIG-a,MIG-b,MIG-c"}, 3),
    ],
)
def test_gpus_are_those_that_cuda_would_show(
    files: list[str], environment: dict[str, str], gpus: int, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert visible_gpus(environment, tmp_path) == gpus
