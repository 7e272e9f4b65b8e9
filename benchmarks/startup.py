"""CPU seconds of `hanclip --help`, and of small runs, which are mostly start-up, compared with an earlier commit.

python -m benchmarks.startup
python -m benchmarks.startup --before 5d67930     # in turn with the tree of that commit; needs git

A run is counted with all processes that it starts, Ray's included. Its first image is embedded when the first progress
line says so, which comes twice a second. pandas, which hanclip does not need and pyarrow
imports wherever it is installed, is hidden.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.child import measure
from benchmarks.cpu_time import make_meter
from benchmarks.images import make
from benchmarks.reporting import Goal, Row, save

_HELP = ("hanclip --help", "hanclip embed --help")
_HERE = Path(__file__).parents[1]
_IMAGES = 10
_SHARE = 0.6
#: Of the earlier commit's time to the first image.
_FIRST_SHARE = 0.5
_LINGER_S = 10.0
_MINIMAL = _HERE / "tests" / "fixtures" / "minimal"


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", metavar="COMMIT", help="also measure small runs, with this commit and with HEAD")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    if given.before is None:
        rows = [measured(name, given.rounds) for name in _HELP]
        save("startup", load, [Goal("CPU seconds of hanclip --help", rows[0]["cpu_s"], at_most=0.5)], rows)
    else:
        with tempfile.TemporaryDirectory() as folder:
            rows = compared(Path(folder), given.before, given.rounds)
        goals = [
            Goal(f"CPU of {now['command']}, share of that of {given.before}", now["cpu_s"] / then["cpu_s"], _SHARE)
            for then, now in zip(rows[::2], rows[1::2], strict=True)
        ]
        first = [row["first_image_s"] for row in rows if row["first_image_s"] is not None]
        goals.append(
            Goal(f"time to the first image, share of that of {given.before}", first[1] / first[0], _FIRST_SHARE)
        )
        save("startup-runs", load, goals, rows)


def measured(name: str, rounds: int) -> Row:
    """Medians of `rounds` runs of one command."""
    costs = [measure("-m", "flows.cli", *name.split()[1:], timeout_s=60) for _ in range(rounds)]
    return {
        "command": name,
        "cpu_s": round(median(cost.cpu_s for cost in costs), 3),
        "wall_s": round(median(cost.wall_s for cost in costs), 3),
        "peak_mib": round(median(cost.peak_mib for cost in costs), 1),
        "cpu_s_of_each": [round(cost.cpu_s, 3) for cost in costs],
    }


def compared(folder: Path, before: str, rounds: int) -> list[Row]:
    """For each small run a row of the earlier commit and one of this tree, measured in turn."""
    images, earlier = folder / "images", folder / "earlier"
    make(images, _IMAGES, 640, 480)
    earlier.mkdir()
    archive = subprocess.run(["git", "archive", before], cwd=_HERE, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], cwd=earlier, input=archive.stdout, check=True)
    rows = []
    for name, words in (
        (f"hanclip embed of {_IMAGES} images", ["embed", str(images), "OUT", "--model", "demo", "--json"]),
        ("hanclip demo", ["demo", "OUT"]),
    ):
        costs: dict[Path, list[RunCost]] = {earlier: [], _HERE: []}
        for number in range(rounds):
            for tree, found in costs.items():
                out = folder / f"out-{len(rows)}-{number}-{tree.name}"
                found.append(cost_of([str(out) if word == "OUT" else word for word in words], tree))
        for tree, label in ((earlier, before), (_HERE, "now")):
            first_s = [cost.first_image_s for cost in costs[tree] if cost.first_image_s is not None]
            rows.append(
                {
                    "command": name,
                    "code": label,
                    "cpu_s": round(median(cost.cpu_s for cost in costs[tree]), 1),
                    "first_image_s": round(median(first_s), 1) if first_s else None,
                    "wall_s": round(median(cost.wall_s for cost in costs[tree]), 1),
                    "cpu_s_of_each": [round(cost.cpu_s, 1) for cost in costs[tree]],
                    "first_image_s_of_each": [round(one, 1) for one in first_s],
                }
            )
    return rows


class RunCost(NamedTuple):
    """CPU and wall seconds of a run, and the time to its first image if it reports progress as JSON."""

    cpu_s: float
    wall_s: float
    first_image_s: float | None


def cost_of(words: list[str], tree: Path) -> RunCost:
    """The cost of `hanclip WORDS` with the code in `tree`, until its last process has ended."""
    meter = make_meter()
    path = os.pathsep.join([str(_MINIMAL), str(tree)])
    began_s, first_s = time.monotonic(), None
    command = [sys.executable, "-m", "flows.cli", *words]
    with tempfile.NamedTemporaryFile() as log:
        child = subprocess.Popen(
            command,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": path, "HIDDEN_PACKAGES": "pandas"},
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=meter.join,
        )
        while child.poll() is None:
            meter.seconds(child.pid)
            if first_s is None and _has_embedded(Path(log.name)):
                first_s = time.monotonic() - began_s
            time.sleep(0.1)
        wall_s = time.monotonic() - began_s
        if first_s is None and "--json" in words:
            first_s = wall_s
        log.seek(0)
        if child.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}: {log.read().decode()[-2000:]}")
    while meter.living(child.pid) and time.monotonic() < began_s + wall_s + _LINGER_S:
        time.sleep(0.1)
    cpu_s = meter.seconds(child.pid)
    meter.close()
    return RunCost(cpu_s, wall_s, first_s)


def _has_embedded(log: Path) -> bool:
    """Whether a line of progress counts seconds of embedding."""
    lines = [line for line in log.read_text().splitlines() if line.startswith('{"event": "progress"')]
    return any(line.endswith("}") and json.loads(line)["stats"]["embed_s"] > 0 for line in lines)


if __name__ == "__main__":
    main()
