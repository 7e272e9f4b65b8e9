"""Stores results as JSON and prints them, with machine, commit and command."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline import __version__

RESULTS = Path(__file__).parent / "results"
_REPOSITORY = Path(__file__).parent.parent
_PLACES = ("--work", "--daft-python")
_PACKAGES = ("ray", "torch", "transformers", "pyarrow", "pillow", "numpy", "duckdb", "obstore")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal: `value` should be at most, or at least, `bound`."""

    what: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool:
        """Whether it was met."""
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    def __str__(self) -> str:
        bound = f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"
        return f"{'met   ' if self.met else 'MISSED'} {self.what}: {self.value:.3g} (goal {bound})"


def machine() -> Row:
    """CPU model, cores, memory and GPU; never a host's name."""
    info = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    bf16 = sorted({"avx512_bf16", "amx_bf16"} & set(info.split()))
    return {
        "cpu": found.group(1).strip() if found else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_bytes / 2**30),
        "bf16_instructions": bf16,
        "gpu": gpu_name(),
        "python": platform.python_version(),
    }


def gpu_name() -> str | None:
    """The first NVIDIA GPU that responds, if any."""
    if shutil.which("nvidia-smi") is None:
        return None
    asked = subprocess.run(
        ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return asked.stdout.splitlines()[0].strip() if asked.returncode == 0 and asked.stdout.strip() else None


def commit() -> str:
    """The commit, with `-dirty` if files other than results differ from it; a tree without .git names it in COMMIT."""
    if named := os.environ.get("COMMIT"):
        return named
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    return f"{_git('rev-parse', '--short=12', 'HEAD') or 'uncommitted'}{'-dirty' if changed else ''}"


def _git(*arguments: str) -> str:
    asked = subprocess.run(["git", *arguments], cwd=_REPOSITORY, capture_output=True, text=True, check=False)
    return asked.stdout.strip()


def save(name: str, load_before: float, goals: Sequence[Goal], rows: Sequence[Row], **details: object) -> Path:
    """Store a result and print it.

    Args:
        name: of the benchmark.
        load_before: one-minute load average before the start.
        goals: the goals.
        rows: flat rows of the table, all with the same keys.
        details: anything else, such as all single values.
    """
    about, now = machine(), datetime.now(UTC)
    tree = {
        "name": name,
        "machine": about,
        "commit": commit(),
        "command": " ".join(["python -m", _module(Path(sys.argv[0])), *_without_places(sys.argv[1:])]),
        "versions": {"hanclip": __version__, **{package: version(package) for package in _PACKAGES}},
        "finished": now.isoformat(timespec="seconds"),
        "load_average_before": load_before,
        "goals": [{**asdict(goal), "met": goal.met} for goal in goals],
        "rows": list(rows),
        **details,
    }
    path = _path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n")
    print(f"\n{markdown(rows)}\n")
    print("\n".join(str(goal) for goal in goals))
    print(f"written to {path.relative_to(_REPOSITORY)}")
    return path


def stored(name: str) -> Row:
    """Today's result of a benchmark on this machine; empty if there is none."""
    path = _path(name)
    found: Row = json.loads(path.read_text()) if path.exists() else {}
    return found


def _path(name: str) -> Path:
    return RESULTS / f"{name}-{place(machine())}-{datetime.now(UTC).date()}.json"


def place(about: Row) -> str:
    """The part of a result's file name that stands for a machine."""
    return re.sub(r"[^a-z0-9]+", "-", f"{about['gpu'] or about['cpu']} {about['cores']} cores".lower()).strip("-")


def markdown(rows: Sequence[Row]) -> str:
    """`rows` as a table; empty without rows."""
    if not rows:
        return ""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([cell(row.get(key)) for key in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: object) -> str:
    """A value of a table."""
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _module(script: Path) -> str:
    """Name of the benchmark's module; a package's script is `__main__.py`."""
    return f"benchmarks.{script.parent.name if script.stem == '__main__' else script.stem}"


def _without_places(arguments: list[str]) -> list[str]:
    """The arguments without paths of this machine, which do not affect the figures."""
    named = [at for at, argument in enumerate(arguments) if argument in _PLACES]
    return [argument for at, argument in enumerate(arguments) if at not in named and at - 1 not in named]
