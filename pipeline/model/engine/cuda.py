"""A GPU as a device: copies in, forward passes and copies back run in streams of their own, at the same time.

Pixels travel as bytes, and are normalised on the GPU. Nothing here waits for the GPU but `wait`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.errors import DeviceLostError, HanclipError
from pipeline.model.checkpoints import ModelSpec
from pipeline.model.engine.contract import Features, Kind, Pass, PassTooLargeError
from pipeline.model.engine.cpu import Normalisation
from pipeline.model.engine.memory import Capacity
from pipeline.model.engine.staging import SlotSizes, Staged, StagingSlot
from pipeline.model.hardware import compute_in_full_float32
from pipeline.model.towers.build import Tokens, Towers

#: One pass is copied in, one computed, one copied back.
_DEPTH = 3


class CudaDevice:
    """See `contract.Device`.

    Args:
        towers: on a GPU.
        spec: of the model.
        capacity: largest passes.
    """

    depth, joins = _DEPTH, True

    def __init__(self, towers: Towers, spec: ModelSpec, capacity: Capacity) -> None:
        self.dim = spec.dim
        self._towers, self._capacity, self._device = towers, capacity, towers.device
        if towers.dtype == torch.float32:
            compute_in_full_float32()
        images, texts = capacity.of("image"), capacity.of("text")
        self._normalisation = Normalisation(spec, towers, images)
        sizes = SlotSizes(images, texts, spec.image_size, spec.context_length, spec.dim)
        self._free = deque(StagingSlot(sizes, self._device) for _ in range(_DEPTH))
        self._in, self._compute, self._out = (torch.cuda.Stream(self._device) for _ in range(3))
        torch.cuda.synchronize(self._device)  # the weights were copied in another stream

    def capacity(self, kind: Kind) -> int:
        """See `contract.Device`."""
        return self._capacity.of(kind)

    def submit(self, work: Pass) -> tuple[StagingSlot, int]:
        """See `contract.Device`."""
        slot = self._free.popleft()
        try:
            with self._loss_noticed():
                return self._capacity.within(work, lambda: self._begin(slot, work))
        except BaseException:
            self._free.append(slot)
            raise

    def _begin(self, slot: StagingSlot, work: Pass) -> tuple[StagingSlot, int]:
        staged = slot.fill(work)
        with torch.cuda.stream(self._in):
            slot.inputs[: staged.n_bytes].copy_(slot.inputs_host[: staged.n_bytes], non_blocking=True)
            slot.arrived.record(self._in)
        try:
            with torch.cuda.stream(self._compute):
                self._compute.wait_event(slot.arrived)
                slot.features[: staged.rows].copy_(self._forward(slot, staged, work.kind))
                slot.computed.record(self._compute)
        except BaseException:
            # The part of the pass that began still reads the slot, which the next one is about to fill.
            torch.cuda.synchronize(self._device)
            raise
        with torch.cuda.stream(self._out):
            self._out.wait_event(slot.computed)
            slot.features_host[: staged.rows].copy_(slot.features[: staged.rows], non_blocking=True)
            slot.returned.record(self._out)
        return slot, staged.rows

    def _forward(self, slot: StagingSlot, staged: Staged, kind: Kind) -> torch.Tensor:
        if kind == "image":
            return self._towers.images(self._normalisation.of(slot.pixels(staged)))
        return self._towers.texts(Tokens(*slot.tokens(staged)))

    def wait(self, handle: tuple[StagingSlot, int]) -> Features:
        """See `contract.Device`."""
        slot, rows = handle
        try:
            with self._loss_noticed():
                slot.returned.synchronize()
            return slot.taken(rows)
        finally:
            self._free.append(slot)

    @contextmanager
    def _loss_noticed(self) -> Iterator[None]:
        """Raise a DeviceLostError for an error after which the GPU refuses everything."""
        try:
            yield
        except (HanclipError, PassTooLargeError):
            raise
        except Exception as error:
            try:
                torch.cuda.synchronize(self._device)
            except RuntimeError as lost:
                raise DeviceLostError(f"The GPU failed, and this process cannot use it any more: {lost}") from error
            raise
