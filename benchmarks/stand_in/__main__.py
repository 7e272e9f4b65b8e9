"""Rates of 1, 2, 4 and 8 stand-in devices against their ceiling, and the driver's CPU per batch; see the package.

    python -m benchmarks.stand_in

Share of the ceiling: images/s in the steady phase of a run, divided by what the devices can do. The driver's CPU per
batch of 256 images covers all of its threads; `submit`, `wait` and `get` are the main thread's calls of Ray, and
`schedule` is the rest of the main thread, which is hanclip's own code. `cores` counts all processes: where it reaches
those of the machine, decoders, embedders and Ray's own processes need more than there is, and the devices wait.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.child import measure
from benchmarks.reporting import Goal, Row, save
from benchmarks.stand_in.device import IMAGES_PER_S, PASS_ROWS

_DEVICES = (1, 2, 4, 8)
#: Pixels a side: tiny ones, which still travel through the object store, and those of the released models.
_TINY, _REAL = 16, 224
_GOAL = 0.95


def one_run(devices: int, side: int, seconds: float, work: Path) -> dict[str, Any]:
    """The figures of one run in a fresh process."""
    arguments = [*("--embedders", str(devices), "--side", str(side)), *("--seconds", str(seconds), "--work", str(work))]
    found: dict[str, Any] = json.loads(measure("-m", "benchmarks.stand_in.run", *arguments).printed.splitlines()[-1])
    return found


def row(devices: int, side: int, seen: dict[str, Any]) -> Row:
    """A row of the table."""
    ceiling, inside, main = devices * IMAGES_PER_S, seen["inside_ms"], seen["threads_ms"]["main"]
    return {
        "devices": devices,
        "pixels": f"{side} x {side}",
        "ceiling_images_per_s": round(ceiling),
        "images_per_s": round(seen["images_per_s"]),
        "share": round(seen["images_per_s"] / ceiling, 3),
        "driver_ms": round(seen["roles_ms"]["driver"], 2),
        "main_ms": round(main, 2),
        **{f"{name}_ms": round(inside.get(name, 0.0), 2) for name in ("submit", "wait", "get")},
        "schedule_ms": round(main - sum(inside.values()), 2),
        "all_ms": round(sum(seen["roles_ms"].values()), 2),
        "cores": round(seen["cores_used"], 2),
    }


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=16, help="of work for the devices in each run")
    parser.add_argument("--devices", type=int, nargs="+", default=_DEVICES)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "hanclip-benchmarks")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    load, rows, runs = os.getloadavg()[0], list[Row](), list[dict[str, Any]]()
    for devices, side in [*((count, _TINY) for count in given.devices), (1, _REAL)]:
        runs.append(one_run(devices, side, given.seconds, given.work))
        rows.append(row(devices, side, runs[-1]))
        print(rows[-1], flush=True)
    shares = [(f"share of the ceiling, {one['devices']} devices, {one['pixels']}", one["share"]) for one in rows]
    goals = [Goal(what, share, at_least=_GOAL) for what, share in shares]
    save("stand-in", load, goals, rows, batch_rows=PASS_ROWS, runs=runs)


if __name__ == "__main__":
    main()
