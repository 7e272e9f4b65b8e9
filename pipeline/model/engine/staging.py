"""Buffers through which passes travel between the host and a GPU; allocated once and used again and again.

Host buffers are page-locked, because only from and to such memory can the GPU copy by itself. A slot belongs to one
pass from its submission until its features were taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.model.engine.contract import Features, Pass
from pipeline.model.tokenizer import TextRows


@dataclass(frozen=True, slots=True)
class SlotSizes:
    """What a slot has room for.

    Attributes:
        images, texts: rows of a pass.
        side: N of an image's N x N pixels.
        tokens: of a text.
        dim: length of a feature.
    """

    images: int
    texts: int
    side: int
    tokens: int
    dim: int

    @property
    def input_bytes(self) -> int:
        """Of the larger kind: pixels, or token ids with the length of each text."""
        return max(self.images * 3 * self.side**2, self.texts * (self.tokens + 1) * 8)

    @property
    def rows(self) -> int:
        """Most features of a pass."""
        return max(self.images, self.texts)


@dataclass(frozen=True, slots=True)
class Staged:
    """A pass in a slot: its size in bytes, its rows, and for texts their padded length L, else 0."""

    n_bytes: int
    rows: int
    length: int = 0
    padded: bool = False


class StagingSlot:
    """The buffers of one pass, on the host and on the GPU.

    Attributes:
        inputs_host, inputs: bytes; on the GPU.
        features_host, features: (B, D) float32; on the GPU.
        arrived, computed, returned: events after the copy in, the forward pass, and the copy back.
    """

    def __init__(self, sizes: SlotSizes, device: torch.device) -> None:
        self._sizes = sizes
        self.inputs_host = torch.empty(sizes.input_bytes, dtype=torch.uint8, pin_memory=True)
        self.inputs = torch.empty(sizes.input_bytes, dtype=torch.uint8, device=device)
        shape = (sizes.rows, sizes.dim)
        self.features_host = torch.empty(shape, dtype=torch.float32, pin_memory=True)
        self.features = torch.empty(shape, dtype=torch.float32, device=device)
        # Blocking: a thread that waits leaves its core to the decoders.
        self.arrived, self.computed, self.returned = (torch.cuda.Event(blocking=True) for _ in range(3))

    def fill(self, work: Pass) -> Staged:
        """Copy a pass into the host's buffer."""
        return stage(work, self.inputs_host.numpy())

    def pixels(self, staged: Staged) -> torch.Tensor:
        """(B, N, N, 3) uint8, on the GPU."""
        side = self._sizes.side
        return self.inputs[: staged.n_bytes].view(staged.rows, side, side, 3)

    def tokens(self, staged: Staged) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(T, L) ids, and a mask where a text is padded, on the GPU."""
        numbers = self.inputs[: staged.n_bytes].view(torch.int64)
        ids, lengths = numbers[: -staged.rows].view(staged.rows, staged.length), numbers[-staged.rows :]
        if not staged.padded:
            return ids, None
        return ids, torch.arange(staged.length, device=ids.device) < lengths[:, None]

    def taken(self, rows: int) -> Features:
        """A copy of the features that came back."""
        found: Features = self.features_host[:rows].numpy().copy()
        return found


def stage(work: Pass, buffer: npt.NDArray[np.uint8]) -> Staged:
    """Copy the rows of a pass to the beginning of a buffer: pixels, or ids of one length and then lengths."""
    texts = [part for part in work.parts if isinstance(part, TextRows)]
    if texts:
        return _stage_texts(texts, work, buffer)
    place = 0
    for part in work.parts:
        if isinstance(part, np.ndarray):
            np.copyto(buffer[place : place + part.size].reshape(part.shape), part)
            place += part.size
    return Staged(place, work.rows)


def _stage_texts(parts: Sequence[TextRows], work: Pass, buffer: npt.NDArray[np.uint8]) -> Staged:
    rows, length = work.rows, max(part.ids.shape[1] for part in parts)
    n_bytes = rows * (length + 1) * 8
    numbers = buffer[:n_bytes].view(np.int64)
    ids, lengths = numbers[:-rows].reshape(rows, length), numbers[-rows:]
    ids[:] = 0  # any id: the mask leaves them out
    start = 0
    for part in parts:
        stop = start + len(part)
        ids[start:stop, : part.ids.shape[1]] = part.ids
        lengths[start:stop] = part.lengths
        start = stop
    return Staged(n_bytes, rows, length, work.masked or bool((lengths < length).any()))
