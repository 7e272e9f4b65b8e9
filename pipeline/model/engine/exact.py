"""The passes of the exact mode, which all have one shape: a row's features depend on nothing but the row.

A kernel may add in another order for another number of rows, of tokens or of threads, so the last bits of a row change
with the rows beside it. On a CPU a pass is a single row with the tokens that it has, on one thread, and several passes
are computed at once. A GPU would idle with single rows: there a pass always has the same number of rows, filled up with
rows of zeros, and all texts have as many tokens as the model takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pipeline.errors import HanclipError
from pipeline.model.engine.contract import KINDS, Device, Features, InputRows, Kind, Pass, PassTooLargeError
from pipeline.model.tokenizer import TextRows

#: Rows of a pass on a GPU: enough to keep it busy, and a request for one row still takes milliseconds.
_GPU_ROWS = 64
#: Rows for each thread of a CPU that are taken together: a thread that is done early has another one.
_ROWS_PER_THREAD = 4


@dataclass(frozen=True, slots=True)
class PassShape:
    """The shape of all passes.

    Attributes:
        rows: images or texts.
        tokens: of every text, with padding; None: each pass has one text, without padding.
        threads: of the CPU in a pass; None on a GPU.
    """

    rows: int
    tokens: int | None = None
    threads: int | None = None

    @classmethod
    def on(cls, device_type: str, context_length: int) -> PassShape:
        """The shape on a type of device, such as "cpu" or "cuda"."""
        if device_type == "cuda":
            return cls(_GPU_ROWS, tokens=context_length)
        return cls(1, threads=1)

    def __str__(self) -> str:
        """For footers, without commas."""
        texts = "texts unpadded" if self.tokens is None else f"texts of {self.tokens} tokens"
        threads = () if self.threads is None else (f"threads {self.threads}",)
        return "; ".join((f"exact: rows {self.rows}", texts, *threads))


class RowByRow:
    """A CPU that computes each row in a pass of its own; see `contract.Device`.

    Args:
        device: computes passes of one row, for several threads.
        threads: passes at once.
    """

    depth, joins = 1, False

    def __init__(self, device: Device, threads: int) -> None:
        self.dim = device.dim
        self._device, self._rows = device, threads * _ROWS_PER_THREAD
        self._pool = ThreadPoolExecutor(threads, "hanclip-row") if threads > 1 else None

    def capacity(self, kind: Kind) -> int:
        """See `contract.Device`."""
        return self._rows

    def submit(self, work: Pass) -> Features:
        """See `contract.Device`."""
        (part,) = work.parts
        rows = [part[place : place + 1] for place in range(len(part))]
        compute = map if self._pool is None else self._pool.map
        return np.concatenate(list(compute(partial(self._features, work.kind), rows)))

    def wait(self, handle: Features) -> Features:
        """See `contract.Device`."""
        return handle

    def _features(self, kind: Kind, row: InputRows) -> Features:
        return self._device.wait(self._device.submit(Pass(kind, (row,))))


class FilledDevice:
    """A device whose passes are filled up to one shape; see `contract.Device`.

    Args:
        device: computes them.
        shape: of all of them, with a number of tokens.

    Raises:
        HanclipError: the device has no room for such a pass.
    """

    def __init__(self, device: Device, shape: PassShape) -> None:
        self.dim, self.depth, self.joins = device.dim, device.depth, device.joins
        self._device, self._shape = device, shape
        if any(device.capacity(kind) < shape.rows for kind in KINDS):
            raise self._too_large()

    def capacity(self, kind: Kind) -> int:
        """See `contract.Device`."""
        return self._shape.rows

    def submit(self, work: Pass) -> tuple[Any, int]:
        """See `contract.Device`."""
        filled = Pass(work.kind, (self._filled(work.parts),), masked=True)
        try:
            return self._device.submit(filled), work.rows
        except PassTooLargeError as error:
            raise self._too_large() from error

    def wait(self, handle: tuple[Any, int]) -> Features:
        """See `contract.Device`."""
        submitted, rows = handle
        return self._device.wait(submitted)[:rows]

    def _filled(self, parts: Sequence[InputRows]) -> InputRows:
        """The rows of all parts, and rows of zeros."""
        texts = [part for part in parts if isinstance(part, TextRows)]
        pixels = [part for part in parts if isinstance(part, np.ndarray)]
        if not texts:
            rows: InputRows = _stacked(pixels, (self._shape.rows, *pixels[0].shape[1:]), 0)
            return rows
        ids = _stacked([part.ids for part in texts], (self._shape.rows, self._shape.tokens or 0), 0)
        # Attention over no token at all would not be finite.
        return TextRows(ids, _stacked([part.lengths for part in texts], (self._shape.rows,), 1))

    def _too_large(self) -> HanclipError:
        return HanclipError(
            f"A pass of {self._shape.rows} rows, which all passes of the exact mode have here, does not fit in the "
            "device's memory: use --dtype bf16, a device with more free memory, or leave out --exact."
        )


def _stacked(parts: Sequence[Any], shape: tuple[int, ...], filler: int) -> Any:
    """The rows of all parts in an array of `shape`, with the filler wherever they leave room."""
    whole = np.full(shape, filler, dtype=parts[0].dtype)
    start = 0
    for part in parts:
        inside = (slice(start, start + len(part)), *map(slice, part.shape[1:]))
        whole[inside] = part
        start += len(part)
    return whole
