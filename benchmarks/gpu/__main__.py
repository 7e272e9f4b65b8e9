"""A whole run against the bare forward pass, on one NVIDIA GPU; skipped without one.

    python -m benchmarks.gpu --dtype bf16

Models have the sizes of released ones and random weights. Ceiling: see `ceiling`; the faster of its two figures counts.
Sustained: the steady phase of a whole run (see `watching`) over 224-pixel and over 640 x 480 JPEGs on the local disk.
Waited: 1 - the mean of `utilization` over the same phase. The CPU cores beside the GPU decide whether decoding keeps
up, and are reported.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks import embed, images
from benchmarks.case import Case
from benchmarks.child import measure
from benchmarks.gpu.models import random_folder
from benchmarks.gpu.utilization import Utilization
from benchmarks.reporting import Goal, Row, gpu_name, save
from benchmarks.watching import steady_span

_SIZES = {"224": (224, 224), "640x480": (640, 480)}
#: Images of each size in a run: enough for about ten seconds of the steady phase on one current data-centre GPU.
_COUNTS = {"vit-b-16": (120_000, 50_000), "vit-h-14": (20_000, 20_000)}


def ceiling_of(folder: Path, given: argparse.Namespace) -> Row:
    """The figures of `ceiling`, in a fresh process."""
    asked = [str(folder), "--dtype", given.dtype, "--seconds", str(given.ceiling_s)]
    figures: Row = json.loads(measure("-m", "benchmarks.gpu.ceiling", *asked).printed.splitlines()[-1])
    return figures


def measured(model: str, size: str, case: Case, ceiling: Row, given: argparse.Namespace) -> Row:
    """One row of the table."""
    best = max(ceiling["eager"], ceiling["compiled"])
    with Utilization(case.marks.with_suffix(".gpu")) as gpu:
        seen = embed.run_once("hanclip", case, given)
    return {
        "model": model,
        "images": size,
        "batch": ceiling["batch"],
        "ceiling_eager": round(ceiling["eager"]),
        "ceiling_compiled": round(ceiling["compiled"]),
        "sustained_images_per_s": round(seen.steady_images_per_s),
        "share_of_ceiling": round(seen.steady_images_per_s / best, 3),
        "gpu_waited_share": round(1 - gpu.busy_share(*steady_span(case.marks)), 3),
        "cpu_ms_per_image": round(seen.steady_cpu_ms, 2),
        "cores": len(os.sched_getaffinity(0)),
        "wall_s": round(seen.wall_s, 1),
    }


def rows_of(model: str, given: argparse.Namespace) -> list[Row]:
    """Both sizes of images through one model."""
    folder = random_folder(model, given.work)
    ceiling = ceiling_of(folder, given)
    print(model, ceiling, flush=True)
    case = Case(given.work, 0, str(folder), given.dtype, 0, given.work / "out", given.work / "run.marks")
    rows = []
    for (size, (width, height)), usual in zip(_SIZES.items(), _COUNTS.get(model, (20_000, 20_000)), strict=True):
        count = given.count or usual
        originals = given.work / f"{size}-{given.distinct}"
        place = images.repeated(originals, given.distinct, count, width, height)
        rows.append(measured(model, size, replace(case, images=place, count=count), ceiling, given))
        print(rows[-1], flush=True)
    return rows


def goals(rows: list[Row]) -> list[Goal]:
    """Of the base model, and of every model's small images."""
    small = [row for row in rows if row["images"] == "224"]
    found = [
        Goal(f"share of the ceiling, {row['model']}, 224", row["share_of_ceiling"], at_least=0.95) for row in small
    ]
    base = [max(row["ceiling_eager"], row["ceiling_compiled"]) for row in small if row["model"] == "vit-b-16"]
    return [*found, *(Goal("images/s, ceiling of vit-b-16", ceiling, at_least=8000) for ceiling in base)]


def main() -> None:
    """Measure and save, or report the skip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(_COUNTS), help="short names of released sizes")
    parser.add_argument("--dtype", choices=("bf16", "fp16", "fp32"), default="bf16")
    parser.add_argument("--count", type=int, help="JPEGs in a run; made from --distinct by hard links")
    parser.add_argument("--distinct", type=int, default=500)
    parser.add_argument("--ceiling-s", type=float, default=5)
    parser.add_argument("--timeout-s", type=float, default=240, help="of one run")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "hanclip-benchmarks")
    given = parser.parse_args()
    if gpu_name() is None:
        print("skipped: no NVIDIA GPU")
        return
    given.work.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    rows = [row for model in given.models for row in rows_of(model, given)]
    save("gpu", load, goals(rows), rows, dtype=given.dtype)


if __name__ == "__main__":
    main()
