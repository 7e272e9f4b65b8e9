"""Chooses how a GPU computes the image tower, by measuring: the attention kernel and the order of values in memory.

A measurement takes a second or two and is kept in the cache folder, by GPU, torch, arithmetic, sizes of the model and
rows of a pass. Embedders that start together on one machine wait for the first one's. Without a GPU nothing is
measured.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product

import torch

from pipeline.model.checkpoints import ModelSpec
from pipeline.model.local.cache import cache_folder, write_atomically
from pipeline.model.towers.build import LoadedTowers
from pipeline.model.towers.kernels import ATTENTIONS, GpuKernels

_WARM_UP_PASSES, _TIMED_PASSES = 2, 3
#: A candidate replaces an earlier one only if it takes less than this share of its time: noise should decide nothing.
_CLEARLY = 0.98


def choose_kernels(towers: LoadedTowers, spec: ModelSpec, rows: int) -> GpuKernels:
    """The fastest kernels for passes of `rows` images on the GPU of `towers`, which uses them afterwards."""
    place = cache_folder() / "kernels" / hashlib.sha256(_situation(towers, spec, rows).encode()).hexdigest()
    with _alone(f"{place}.lock"):
        try:
            chosen = GpuKernels.parse(place.read_text(encoding="ascii"))
        except (OSError, ValueError):
            chosen = _measured(towers, spec, rows)
            with suppress(OSError):
                write_atomically(place, str(chosen))
    towers.use(chosen)
    return chosen


def _situation(towers: LoadedTowers, spec: ModelSpec, rows: int) -> str:
    gpu = torch.cuda.get_device_name(towers.device)
    return "\n".join(map(str, (gpu, torch.__version__, towers.dtype, spec.sizes, rows)))


def _measured(towers: LoadedTowers, spec: ModelSpec, rows: int) -> GpuKernels:
    best, best_s = GpuKernels(), float("inf")
    shape = (rows, spec.image_size, spec.image_size, 3)
    with suppress(torch.OutOfMemoryError):
        pixels = torch.zeros(shape, dtype=towers.dtype, device=towers.device).permute(0, 3, 1, 2)
        for channels_last, attention in product((True, False), ATTENTIONS):
            kernels = GpuKernels(attention, channels_last)
            towers.use(kernels)
            seconds = _seconds(towers, pixels)
            if seconds < best_s * _CLEARLY:
                best, best_s = kernels, seconds
    return best


def _seconds(towers: LoadedTowers, pixels: torch.Tensor) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with torch.inference_mode():
        for _ in range(_WARM_UP_PASSES):
            towers.images(pixels)
        begin.record()
        for _ in range(_TIMED_PASSES):
            towers.images(pixels)
        end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1000


@contextmanager
def _alone(lock: str) -> Iterator[None]:
    """Hold a lock among the processes of this machine; without one where the cache cannot be written."""
    try:
        cache_folder().joinpath("kernels").mkdir(parents=True, exist_ok=True)
        file = open(lock, "w", encoding="ascii")  # noqa: SIM115 - closed below, where it was opened
    except OSError:
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
