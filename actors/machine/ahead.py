"""Starts in a thread what a run is about to need, while the main thread still plans.

Signals go to the main thread: while it plans they raise there, and while it waits for the start they abandon the start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from actors.stopping import StopSignal

_POLL_S = 0.1


class Ahead:
    """A start that is under way.

    Args:
        start: called at once, in a thread, with what tells it of a signal; it ends soon after one.
    """

    def __init__(self, start: Callable[[StopSignal], object]) -> None:
        self._stop = StopSignal()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(start,), daemon=True)
        self._thread.start()

    def _run(self, start: Callable[[StopSignal], object]) -> None:
        try:
            start(self._stop)
        except BaseException as error:  # noqa: BLE001 - raised again by `result`, in the thread that asks for it
            self._error = error

    def wait(self) -> None:
        """Wait until the start has ended, successfully or not; a signal abandons it."""
        with StopSignal() as stop:
            while self._thread.is_alive():
                self._thread.join(_POLL_S)
                if stop.number is not None:
                    self._stop.record(stop.number)

    def result(self) -> None:
        """The same, then raise what the start raised, or a SystemExit if a signal arrived meanwhile."""
        self.wait()
        if self._error is not None:
            raise self._error
        self._stop.raise_if_stopped()
