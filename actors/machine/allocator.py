"""Tunes how this process allocates memory and collects garbage.

Decoding and a forward pass free and allocate the same few megabytes for every batch. glibc returns such blocks to the
kernel each time; keeping them saved a sixth of the CPU time of a decode-bound run (`docs/benchmarks.md`).
"""

from __future__ import annotations

import atexit
import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# malloc.h of glibc; the largest threshold for mmap that it accepts is 32 MiB.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BYTES = 200_000_000
_MMAP_BYTES = 32 * 2**20


def keep_freed_memory() -> bool:
    """Keep up to 200 MB of freed memory for the next batch; returns whether the allocator supports it."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)) and bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES))


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause the garbage collector: nearly all objects that importing torch creates stay alive."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def leave_out_of_collections() -> None:
    """Collect garbage once, and leave out of later collections what is alive now.

    A full collection goes through all objects of torch and a model, and a server answers nobody for these 200 ms.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # extension modules report what the last collection leaves as leaks
