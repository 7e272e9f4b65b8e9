"""Compiles the fast resize for this processor, and calls it.

In: pixels as an array. Out: the square, the same bytes as from Pillow. Compiling takes 40 ms, after 80 ms to import
llvmlite, so there is no cache on disk that could be stale, damaged or impossible to write. The vectors are in the
assembly already, so LLVM only has to translate it, which costs a third of what its optimisations would.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.images.resizing import assembly
from pipeline.images.resizing.factors import factors
from pipeline.images.resizing.levels import Levels, is_vertical_first

_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64


class Kernels:
    """The compiled functions. Calls release the GIL.

    Raises:
        ImportError, OSError: llvmlite is missing or cannot be loaded, or new code may not run on this system.
        RuntimeError, AttributeError: this llvmlite is too old, or does not know this processor.
    """

    def __init__(self) -> None:
        from llvmlite import binding

        _require_executable_memory()
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        target = binding.Target.from_triple(binding.get_process_triple())
        machine = target.create_target_machine(
            cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten()
        )
        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(assembly.module()), machine)
        self._engine.finalize_object()
        self._blend = self._function("blend", 4, 5)
        self._across = self._function("across", 5, 6)

    def _function(self, name: str, pointers: int, numbers: int) -> Callable[..., None]:
        kind = ctypes.CFUNCTYPE(None, *[_POINTER] * pointers, *[_NUMBER] * numbers)
        return kind(self._engine.get_function_address(name))

    @staticmethod
    def take(width: int, height: int, side: int) -> bool:
        """Whether a picture of this size can be squashed here."""
        return min(width, height, side) >= assembly.LANES

    def squash(self, levels: Levels, side: int, channels: int) -> Levels:
        """(H, W, C) pixels, C-contiguous -> (side, side, channels), which are the first of the C."""
        height, width, _ = levels.shape
        if is_vertical_first(width, height, side):
            return self._horizontal(self._vertical(levels, side), side, channels)
        return self._vertical(self._horizontal(levels, side, channels), side)

    def _vertical(self, levels: Levels, side: int) -> Levels:
        height, width, channels = levels.shape
        if height == side:  # every new row is an old one
            return levels
        out = np.empty((side, width, channels), np.uint8)
        by, row = factors(height, side), width * channels
        self._blend(*_at(out, levels, by.bounds, by.values), side, by.values.shape[1], row, row, row)
        return out

    def _horizontal(self, levels: Levels, side: int, channels: int) -> Levels:
        height, width, in_channels = levels.shape
        if width == side:
            return np.ascontiguousarray(levels[..., :channels])
        out = np.empty((height, side, channels), np.uint8)
        scratch = np.empty((width * in_channels + side * channels) * assembly.LANES, np.uint8)
        by = factors(width, side)
        where = _at(out, levels, scratch, by.bounds, by.values)
        self._across(*where, side, by.values.shape[1], height, width * in_channels, in_channels, channels)
        return out


def _require_executable_memory() -> None:
    """Raise OSError where the system runs no code that a process has written, since LLVM would end the process then."""
    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        system = ctypes.CDLL(None, use_errno=True)
        start = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        if system.mprotect(start, ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError(ctypes.get_errno(), "this system does not let a process run code that it compiled")


def _at(*arrays: npt.NDArray[Any]) -> tuple[int, ...]:
    return tuple(array.ctypes.data for array in arrays)
