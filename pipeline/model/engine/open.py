"""Makes the device that runs a model's towers, and the engine that feeds a device."""

from __future__ import annotations

import torch

from pipeline.model.checkpoints import ModelSpec
from pipeline.model.engine.contract import Device, Engine
from pipeline.model.engine.cpu import CpuDevice
from pipeline.model.engine.cuda import CudaDevice
from pipeline.model.engine.direct import DirectEngine
from pipeline.model.engine.exact import FilledDevice, PassShape, RowByRow
from pipeline.model.engine.memory import Capacity, fitting
from pipeline.model.engine.overlapping import OverlappingEngine
from pipeline.model.memory import texts_per_image
from pipeline.model.towers.build import Towers


def device_for(towers: Towers, spec: ModelSpec, batch_size: int) -> Device:
    """The device on which `towers` are, with passes of at most `batch_size` images, fewer if its buffers do not fit."""

    def make(images: int) -> Device:
        capacity = Capacity(images, images * texts_per_image(spec.context_length))
        return (CudaDevice if towers.device.type == "cuda" else CpuDevice)(towers, spec, capacity)

    return fitting(batch_size, make)


def exact_device_for(towers: Towers, spec: ModelSpec, shape: PassShape) -> Device:
    """The device on which `towers` are, with passes of one shape.

    On a CPU it takes torch's number of threads for passes at once, and sets it to that of the shape for this process.

    Raises:
        HanclipError: a pass does not fit in the device's memory.
    """
    if towers.device.type == "cuda":
        return FilledDevice(fitting(shape.rows, lambda rows: CudaDevice(towers, spec, Capacity(rows, rows))), shape)
    at_once = torch.get_num_threads()
    torch.set_num_threads(shape.threads or 1)
    return RowByRow(CpuDevice(towers, spec, Capacity(shape.rows, shape.rows)), at_once)


def engine_for(device: Device) -> Engine:
    """The engine that suits a device."""
    return OverlappingEngine(device) if device.joins else DirectEngine(device)
