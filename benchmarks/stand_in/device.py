"""A device that computes nothing and takes its time, in the real embedder with the real engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.embedder import Embedder
from pipeline.model.engine.contract import Features, Kind, Pass
from pipeline.model.engine.overlapping import OverlappingEngine

#: Each device's ceiling.
IMAGES_PER_S = 4000.0
#: Rows of a full pass.
PASS_ROWS = 256
#: Length of a vector, large enough that a batch of vectors goes through the object store.
DIM = 128


def sleep_until(due_s: float) -> None:
    """Return at `due_s`, in seconds of `time.monotonic`."""
    while (left_s := due_s - time.monotonic()) > 0:
        time.sleep(left_s)


class StandInDevice:
    """See `pipeline.model.engine.contract.Device`: passes are due one after the other, and awaited by sleeping."""

    dim = DIM
    depth = 2
    joins = True

    def __init__(self) -> None:
        self._due_s = 0.0
        self._vectors = np.full((PASS_ROWS, DIM), DIM**-0.5, dtype=np.float32)
        self._staging: npt.NDArray[np.uint8] | None = None

    def capacity(self, kind: Kind) -> int:
        """See `Device`."""
        return PASS_ROWS

    def submit(self, work: Pass) -> tuple[float, int]:
        """Copy the pixels, as a device with memory of its own would; returns when the pass is due, and its rows."""
        start = 0
        for part in work.parts:
            pixels = np.asarray(part)
            if self._staging is None:
                self._staging = np.empty((PASS_ROWS, *pixels.shape[1:]), dtype=np.uint8)
            self._staging[start : start + len(pixels)] = pixels
            start += len(pixels)
        self._due_s = max(self._due_s, time.monotonic()) + work.rows / IMAGES_PER_S
        return self._due_s, work.rows

    def wait(self, handle: tuple[float, int]) -> Features:
        """See `Device`."""
        due_s, rows = handle
        sleep_until(due_s)
        return self._vectors[:rows]


class StandInClip:
    """The part of a `ChineseClip` that an embedder uses for images, without torch."""

    dim = DIM
    dtype = "bfloat16"
    device_name = "stand-in"
    logit_scale = 100.0

    def __init__(self) -> None:
        self.makers: dict[str, str] = {"device": self.device_name}
        self._engine = OverlappingEngine(StandInDevice())

    def begin_images(self, pixels: npt.NDArray[np.uint8]) -> Callable[[], Features]:
        """See `ChineseClip`."""
        return self._engine.submit("image", pixels).result


class StandInEmbedder(Embedder):
    """The real embedder with that model."""

    def _load(self) -> Any:
        return StandInClip()
