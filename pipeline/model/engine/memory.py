"""The largest passes of a device, which only shrink.

A GPU is often shared, and how much memory a model needs is known only when it runs. So a pass that runs out of memory
is tried again with half the rows, and later passes are as small. The same goes for buffers that are made for a pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import torch

from pipeline.errors import HanclipError
from pipeline.model.engine.contract import Kind, Pass, PassTooLargeError

_T = TypeVar("_T")

#: How CUDA, its libraries, which make handles and buffers at the first call, and torch on a CPU say it.
_NO_MEMORY = re.compile(r"out of memory|CU(BLAS|DNN)_STATUS_ALLOC_FAILED|can't allocate memory")

_TOO_SMALL = (
    "A single record does not fit in the device's memory: use --dtype bf16, a smaller model, or a device with more free"
    " memory."
)


def fitting(rows: int, make: Callable[[int], _T]) -> _T:
    """What `make` makes for passes of `rows` rows, or for half as many and so on while it runs out of memory.

    Raises:
        HanclipError: it runs out of memory for a single row.
    """
    while True:
        try:
            return make(rows)
        except RuntimeError as error:
            if not _is_for_lack_of_memory(error):
                raise
            if rows == 1:
                raise HanclipError(_TOO_SMALL) from error
        # Outside the handler, where the error no longer keeps what was made alive.
        rows //= 2
        _return_freed()


class Capacity:
    """Most rows in one pass.

    Args:
        images, texts: at first.
    """

    def __init__(self, images: int, texts: int) -> None:
        self._rows: dict[Kind, int] = {"image": images, "text": texts}

    def of(self, kind: Kind) -> int:
        """Rows of this kind."""
        return self._rows[kind]

    def within(self, work: Pass, compute: Callable[[], _T]) -> _T:
        """The result of `compute`, which computes `work`.

        Raises:
            PassTooLargeError: it ran out of memory, and the capacity is halved.
            HanclipError: a single row does not fit.
        """
        try:
            with torch.inference_mode():
                return compute()
        except RuntimeError as error:
            if not _is_for_lack_of_memory(error):
                raise
            if work.rows == 1:
                raise HanclipError(_TOO_SMALL) from error
        # Outside the handler, where the error no longer keeps the failed pass's tensors alive.
        self._rows[work.kind] = work.rows // 2
        _return_freed()
        raise PassTooLargeError(f"A pass of {work.rows} rows does not fit into the device's memory.")


def _is_for_lack_of_memory(error: RuntimeError) -> bool:
    """Only torch's allocator for GPUs has a class of its own for it."""
    return isinstance(error, torch.OutOfMemoryError) or _NO_MEMORY.search(str(error)) is not None


def _return_freed() -> None:
    """Give memory that torch holds without need back to the GPU."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
