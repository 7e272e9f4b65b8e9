"""A whole run against the bare forward pass, on one NVIDIA GPU; skipped without one.

    python -m benchmarks.gpu --dtype bf16

Ceiling: only the image tower, over pixels that are already on the GPU, for `--ceiling-s` seconds in batches of the
size that a run uses. Sustained: the steady phase of a whole run (see `watching`) over 224-pixel and over 640 x 480
JPEGs on the local disk. Waited: 1 - the mean of the driver's `utilization.gpu`, the share of time in which a kernel was
executing, over the same phase. The CPU cores per GPU decide whether decoding keeps up, and are reported.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean

from benchmarks import embed, images
from benchmarks.case import Case
from benchmarks.child import measure
from benchmarks.reporting import Goal, Row, gpu_name, save
from benchmarks.watching import steady_span

_SIZES = {"224": (224, 224), "640x480": (640, 480)}
_WARM_UP_PASSES = 5
_GPU_SAMPLE_MS = 200


def ceiling_here(model: str, dtype: str, seconds: float) -> float:
    """images/s of the image tower alone, in this process."""
    import torch

    from pipeline.config import ModelConfig
    from pipeline.model.checkpoints import resolve
    from pipeline.model.chinese_clip import choose_dtype, default_batch_size
    from pipeline.model.towers.build import load_towers

    spec, device = resolve(ModelConfig(name=model)), torch.device("cuda")
    towers = load_towers(spec, device, choose_dtype(dtype, device))
    batch = default_batch_size(spec, "cuda")
    pixels = torch.randn(batch, 3, spec.image_size, spec.image_size, device=device, dtype=towers.dtype)
    passes = 0
    with torch.inference_mode():
        for _ in range(_WARM_UP_PASSES):
            towers.images(pixels)
        torch.cuda.synchronize()
        began_s = time.perf_counter()
        while time.perf_counter() - began_s < seconds:
            towers.images(pixels)
            torch.cuda.synchronize()
            passes += 1
        return passes * batch / (time.perf_counter() - began_s)


def sustained(case: Case, timeout_s: float) -> tuple[float, float]:
    """(images/s of a whole run's steady phase, share of it in which the GPU executed a kernel)."""
    samples = case.marks.with_suffix(".gpu")
    with samples.open("w") as file:
        query = [
            "nvidia-smi",
            "--query-gpu=utilization.gpu",
            "--format=csv,noheader,nounits",
            f"--loop-ms={_GPU_SAMPLE_MS}",
        ]
        began_s = time.monotonic()
        watcher = subprocess.Popen([*query, "--id=0"], stdout=file)
        try:
            seen = embed.run_once("hanclip", case, timeout_s)
        finally:
            watcher.terminate()
            watcher.wait(10)
        lasted_s = time.monotonic() - began_s
    busy = [float(line) / 100 for line in samples.read_text().split() if line.replace(".", "").isdigit()]
    begin_s, end_s = steady_span(case.marks)
    inside = slice(*(round((at - began_s) / lasted_s * len(busy)) for at in (begin_s, end_s)))
    return seen.steady_images_per_s, mean(busy[inside] or busy)


def measured(name: str, case: Case, ceiling: float, timeout_s: float) -> Row:
    """One row of the table."""
    rate, busy = sustained(case, timeout_s)
    return {
        "images": name,
        "ceiling_images_per_s": round(ceiling, 1),
        "sustained_images_per_s": round(rate, 1),
        "share_of_ceiling": round(rate / ceiling, 3),
        "gpu_waited_share": round(1 - busy, 3),
        "cores": len(os.sched_getaffinity(0)),
    }


def main() -> None:
    """Measure and save, or report the skip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="what hanclip embed --model takes; the base model's shape with random weights")
    parser.add_argument("--dtype", choices=("bf16", "fp16", "fp32"), default="bf16")
    parser.add_argument("--count", type=int, default=50_000, help="JPEGs in a run; made from --distinct by hard links")
    parser.add_argument("--distinct", type=int, default=2000)
    parser.add_argument("--ceiling-s", type=float, default=10)
    parser.add_argument("--timeout-s", type=float, default=240, help="of one run")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "hanclip-benchmarks")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if gpu_name() is None:
        print("skipped: no NVIDIA GPU")
        return
    if given.child:
        print(ceiling_here(given.model, given.dtype, given.ceiling_s))
        return
    given.work.mkdir(parents=True, exist_ok=True)
    load, model = os.getloadavg()[0], given.model or embed.checkpoint("vit-b-16", given.work)
    asked = ["--child", "--model", model, "--dtype", given.dtype, "--ceiling-s", str(given.ceiling_s)]
    ceiling = float(measure("-m", "benchmarks.gpu", *asked).printed.split()[-1])
    case = Case(given.work, given.count, model, given.dtype, 0, given.work / "out", given.work / "run.marks")
    rows = []
    for name, (width, height) in _SIZES.items():
        folder = images.repeated(given.work / f"{name}-{given.distinct}", given.distinct, given.count, width, height)
        rows.append(measured(name, replace(case, images=folder), ceiling, given.timeout_s))
        print(rows[-1], flush=True)
    share = Goal("share of the forward ceiling, 224-pixel JPEGs", rows[0]["share_of_ceiling"], at_least=0.9)
    save("gpu", load, [share], rows, dtype=given.dtype, model=given.model or "ViT-B/16 shape, random weights")


if __name__ == "__main__":
    main()
