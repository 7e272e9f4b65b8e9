"""The engine of a device that overlaps: what waits when a pass ends goes into the next ones.

Two threads of its own feed the device and collect its results, so that a pass that arrives is begun at once and a
result is handed on at once. A pass that is not full begins only while the device has at most one other: more would
split what fits into one pass, and one is enough to keep it busy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from threading import Condition, Thread
from typing import Any, TypeVar

import numpy as np

from pipeline.errors import DeviceLostError
from pipeline.model.engine.contract import (
    Device,
    Features,
    InputRows,
    Kind,
    PassTooLargeError,
)
from pipeline.model.engine.waiting import Formed, PassQueue, Request

#: Passes at the device beside which a pass that is not full may begin.
_PARTIAL_BESIDE = 1

_T = TypeVar("_T")


class OverlappingEngine:
    """See `contract.Engine`."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._changed = Condition()
        self._waiting = PassQueue()
        self._begun: deque[tuple[Any, Formed]] = deque()
        self._lost: DeviceLostError | None = None
        self._closed = self._feeding = False
        loops = ((self._feed, "feed the device"), (self._collect, "collect from the device"))
        self._threads = [Thread(target=loop, name=name, daemon=True) for loop, name in loops]
        for thread in self._threads:
            thread.start()

    def submit(self, kind: Kind, rows: InputRows) -> Future[Features]:
        """See `contract.Engine`."""
        request = Request(kind, rows, np.empty((len(rows), self._device.dim), dtype=np.float32))
        with self._changed:
            if self._lost is not None:
                request.fail(self._lost)
            else:
                self._waiting.add(request)
                self._changed.notify_all()
        return request.future

    def close(self, wait: bool = True) -> None:
        """See `contract.Engine`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads if wait else ():
            thread.join()

    def _feed(self) -> None:
        while (formed := self._next()) is not None:
            self._step(formed, partial(self._submitted, formed), self._begun.append)

    def _submitted(self, formed: Formed) -> tuple[Any, Formed]:
        return self._device.submit(formed.work()), formed

    def _next(self) -> Formed | None:
        """Wait for the next pass; None when there will be no more."""
        with self._changed:
            self._feeding = False
            self._changed.notify_all()
            while not self._ended():
                if len(self._begun) < self._device.depth:
                    full_only = len(self._begun) > _PARTIAL_BESIDE
                    if formed := self._waiting.form(self._device.capacity, full_only):
                        self._feeding = True
                        return formed
                self._changed.wait()
        return None

    def _collect(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._begun or self._ended())
                if not self._begun:
                    return
                handle, formed = self._begun[0]
            self._step(formed, partial(self._device.wait, handle), formed.settle)
            with self._changed:
                if self._begun and self._begun[0][1] is formed:
                    self._begun.popleft()
                self._changed.notify_all()

    def _ended(self) -> bool:
        return self._closed and not (self._waiting or self._feeding or self._begun)

    def _step(self, formed: Formed, step: Callable[[], _T], then: Callable[[_T], None]) -> None:
        """Do a step of this pass. If it fails, its requests get the error, or wait again."""
        try:
            result = step()
        except PassTooLargeError:
            with self._changed:
                self._waiting.put_back(formed)
        except DeviceLostError as error:
            self._lose(formed, error)
        except BaseException as error:  # noqa: BLE001 - it belongs to the callers, who wait for the futures
            with self._changed:
                formed.fail(error)
        else:
            with self._changed:
                then(result)
                self._changed.notify_all()

    def _lose(self, formed: Formed, error: DeviceLostError) -> None:
        """Fail everything, now and later."""
        with self._changed:
            self._lost = error
            formed.fail(error)
            while self._begun:
                self._begun.popleft()[1].fail(error)
            self._waiting.fail(error)
