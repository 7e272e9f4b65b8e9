"""What this process may use of its machine, container or batch job: cores, available memory, GPUs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

from actors.machine.cgroups import Cgroups

_MB = 2**20
_CONTAINER_MARKS = (".dockerenv", "run/.containerenv")


def usable_cpus() -> float:
    """Cores by affinity and by the quotas of this process's control groups."""
    cores = float(len(os.sched_getaffinity(0)))
    return min(cores, Cgroups().cpus() or cores)


def available_memory_bytes(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> int:
    """Memory available to new processes: caches count as free, and the limits of control groups and of SLURM apply."""
    meminfo = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text().splitlines())
    bounds = (
        int(meminfo["MemAvailable"].split()[0]) * 1024,
        Cgroups(root).free_memory_bytes(),
        _slurm_bytes(environment),
    )
    return min(bound for bound in bounds if bound is not None)


def _slurm_bytes(environment: Mapping[str, str]) -> int | None:
    """What the SLURM job was given on this node, which not every installation enforces by control groups."""
    per_node, per_cpu, cpus = (
        environment.get(name, "") for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE")
    )
    if per_node.isdigit() and int(per_node):  # 0 is all of the node
        return int(per_node) * _MB
    if per_cpu.isdigit() and int(per_cpu) and cpus.isdigit():
        return int(per_cpu) * int(cpus) * _MB
    return None


def visible_gpus(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Number of GPUs that CUDA would show to this process: of those that are there, the named ones if any are named."""
    there = _gpus(environment, root)
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is None or not there:
        return there
    # CUDA stops at the first that is not there. A part of a GPU (MIG) has no number.
    names = (name.strip() for name in named.split(","))
    shown = takewhile(lambda name: name not in ("", "-1") and not (name.isdigit() and int(name) >= there), names)
    return len(list(shown))


def _gpus(environment: Mapping[str, str], root: Path) -> int:
    """GPUs that this process can reach. Their driver lists those of the machine, in a container without any, too."""
    if (root / "dev/nvidiactl").exists():
        return sum(path.name.removeprefix("nvidia").isdigit() for path in (root / "dev").glob("nvidia*"))
    if (root / "usr/lib/wsl/lib/libcuda.so.1").exists():
        return 1  # Windows does not say how many
    driver = root / "proc/driver/nvidia/gpus"
    inside = "KUBERNETES_SERVICE_HOST" in environment or any((root / mark).exists() for mark in _CONTAINER_MARKS)
    # Outside, the first use of CUDA makes the device files.
    return len(list(driver.iterdir())) if driver.is_dir() and not inside else 0
