"""The ceiling: images/s of the image tower alone, over pixels that are already on the GPU.

    python -m benchmarks.gpu.ceiling FOLDER --dtype bf16 --seconds 5

Prints one JSON object: images/s of the towers as they are, and through torch.compile, in batches of the size that a
run uses.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

_WARM_UP_PASSES = 5
_PASSES_AT_ONCE = 8


def images_per_s(forward: Callable[[Any], Any], pixels: Any, seconds: float) -> float:
    """Images/s of `forward` over `pixels`, again and again for `seconds`."""
    import torch

    for _ in range(_WARM_UP_PASSES):
        forward(pixels)
    torch.cuda.synchronize()
    passes, began_s = 0, time.perf_counter()
    while time.perf_counter() - began_s < seconds:
        for _ in range(_PASSES_AT_ONCE):  # waiting for each of them would leave gaps between the passes
            forward(pixels)
        torch.cuda.synchronize()
        passes += _PASSES_AT_ONCE
    return passes * len(pixels) / (time.perf_counter() - began_s)


def main() -> None:
    """Measure one model in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="what hanclip embed --model takes")
    parser.add_argument("--dtype", choices=("bf16", "fp16", "fp32"), default="bf16")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    given = parser.parse_args()
    import torch

    from pipeline.config import ModelConfig
    from pipeline.model.checkpoints import resolve
    from pipeline.model.chinese_clip import default_batch_size
    from pipeline.model.engine.choices import choose_kernels
    from pipeline.model.hardware import choose_dtype
    from pipeline.model.towers.build import load_towers

    spec, device = resolve(ModelConfig(name=given.model)), torch.device("cuda")
    towers = load_towers(spec, device, choose_dtype(given.dtype, device))
    batch = default_batch_size(spec, "cuda")
    choose_kernels(towers, spec, batch, measure=True)
    pixels = torch.randn(batch, 3, spec.image_size, spec.image_size, device=device, dtype=towers.dtype)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        eager = images_per_s(towers.images, pixels, given.seconds)
        towers.compile()
        began_s = time.perf_counter()
        towers.images(pixels)
        torch.cuda.synchronize()
        compile_s = time.perf_counter() - began_s
        compiled = images_per_s(towers.images, pixels, given.seconds)
    print(json.dumps({"batch": batch, "eager": eager, "compiled": compiled, "compile_s": compile_s}))


if __name__ == "__main__":
    main()
