"""One tensor in a file: its type, its shape, and the position of its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

#: Bytes per number, by safetensors' names of the formats.
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor in a file.

    Attributes:
        path: the file.
        dtype: number format, by safetensors' name.
        shape: length of each dimension.
        strides: steps between neighbours along each dimension, in numbers; None: row by row.
        at: byte offset in a safetensors file, or the record and the element in a torch file.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    at: int | tuple[str, int]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Bytes of all elements."""
        return self.elements * SIZES.get(self.dtype, 1)
