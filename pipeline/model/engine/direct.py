"""The engine of a device that gains nothing from joined or overlapping passes: the caller's own thread computes.

The passes of a request depend on nothing else, so the same request gives the same bits. Requests of several threads
take turns.
"""

from __future__ import annotations

from concurrent.futures import Future
from threading import Lock

import numpy as np

from pipeline.model.engine.contract import Device, Features, InputRows, Kind, Pass, PassTooLargeError


class DirectEngine:
    """See `contract.Engine`; `submit` returns when the features are there, and raises what the device raises."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._turn = Lock()

    def submit(self, kind: Kind, rows: InputRows) -> Future[Features]:
        """See `contract.Engine`."""
        done: Future[Features] = Future()
        with self._turn:
            done.set_result(self._computed(kind, rows))
        return done

    def close(self, wait: bool = True) -> None:
        """There is nothing to end."""

    def _computed(self, kind: Kind, rows: InputRows) -> Features:
        features = np.empty((len(rows), self._device.dim), dtype=np.float32)
        start = 0
        while start < len(rows):
            part = rows[start : start + self._device.capacity(kind)]
            try:
                computed = self._device.wait(self._device.submit(Pass(kind, (part,))))
            except PassTooLargeError:
                continue
            features[start : start + len(part)] = computed
            start += len(part)
        return features
