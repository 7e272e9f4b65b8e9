"""Chooses how a GPU computes the image tower, by measuring: the attention kernel and the order of values in memory.

A measurement takes a second or two and is kept in the cache folder, by GPU, driver, torch with its libraries,
arithmetic, sizes of the model and rows of a pass: after an upgrade it is made again. Embedders that start together on
one machine wait for the first one's. It is worth it for many passes only: others use what is kept, else what is usually
the fastest. Without a GPU nothing is measured.

A choice is optional, so nothing that fails here ends a run.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from pathlib import Path

import torch

from pipeline.model.checkpoints import ModelSpec
from pipeline.model.hardware import gpu_facts
from pipeline.model.local.cache import cache_folder, write_atomically
from pipeline.model.towers.build import LoadedTowers
from pipeline.model.towers.kernels import GpuKernels, candidates
from pipeline.scratch.alone import alone

logger = logging.getLogger(__name__)

#: Rows of a measured pass: enough to keep a GPU busy, and kernels rank the same with more.
_MOST_ROWS = 64
_TIMED_PASSES = 3
#: A candidate replaces an earlier one only if it takes less than this share of its time: noise should decide nothing.
_CLEARLY = 0.98


def choose_kernels(towers: LoadedTowers, spec: ModelSpec, rows: int, measure: bool) -> GpuKernels:
    """The kernels for passes of up to `rows` images on the GPU of `towers`, which uses them afterwards.

    Args:
        towers: on a GPU.
        spec: of the model.
        rows: most images of a pass.
        measure: find the fastest, if that was not done before.
    """
    rows = min(rows, _MOST_ROWS)
    usual, *_ = candidates(towers.dtype)
    place = cache_folder() / "kernels" / hashlib.sha256(_situation(towers, spec, rows).encode()).hexdigest()
    chosen = _kept(place, towers.dtype)
    if chosen is None and measure:
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
        with alone(place.with_suffix(".lock"), file=True):
            chosen = _kept(place, towers.dtype) or _measured(towers, spec, rows)
            if chosen is not None:
                with suppress(OSError):
                    write_atomically(place, str(chosen))
    towers.use(chosen or usual)
    return chosen or usual


def use_usual_kernels(towers: LoadedTowers) -> None:
    """Let `towers` use the kernels that are usually the fastest: the same on every GPU."""
    towers.use(candidates(towers.dtype)[0])


def _situation(towers: LoadedTowers, spec: ModelSpec, rows: int) -> str:
    return "\n".join(map(str, (*gpu_facts(towers.device), towers.dtype, spec.sizes, rows)))


def _kept(place: Path, dtype: torch.dtype) -> GpuKernels | None:
    with suppress(OSError, ValueError):
        kernels = GpuKernels.parse(place.read_text(encoding="ascii"))
        return kernels if kernels in candidates(dtype) else None
    return None


def _measured(towers: LoadedTowers, spec: ModelSpec, rows: int) -> GpuKernels | None:
    """The fastest of those that can compute; None if none can now."""
    best, best_s = None, float("inf")
    for kernels in candidates(towers.dtype):
        try:
            seconds = _seconds(towers, kernels, (rows, spec.image_size, spec.image_size, 3), best_s)
        except RuntimeError as error:  # no memory for the pass, or a library that has no plan for its shape
            logger.debug("%s: not measured: %s", kernels, error)
            continue
        if seconds < best_s * _CLEARLY:
            best, best_s = kernels, seconds
    torch.cuda.empty_cache()  # what was freed in this stream is of no use to the passes' stream
    return best


def _seconds(towers: LoadedTowers, kernels: GpuKernels, shape: tuple[int, ...], best_s: float) -> float:
    """Of a pass. More than one is timed only if the first might be faster than `best_s`."""
    towers.use(kernels)
    pixels = torch.zeros(shape, dtype=towers.dtype, device=towers.device).permute(0, 3, 1, 2)
    for warm_up in (pixels[:1], pixels):  # a single row, too: later passes have any number
        _timed(towers, warm_up, 1)
    first_s = _timed(towers, pixels, 1)
    return first_s if first_s * _CLEARLY > best_s else _timed(towers, pixels, _TIMED_PASSES)


def _timed(towers: LoadedTowers, pixels: torch.Tensor, passes: int) -> float:
    """Seconds of one of so many passes, on the GPU's own clock."""
    # Events and passes belong to the current device, which need not be that of the towers.
    with torch.cuda.device(towers.device), torch.inference_mode():
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(passes):
            towers.images(pixels)
        end.record()
        end.synchronize()
    return float(begin.elapsed_time(end)) / 1000 / passes
