"""Handles SIGTERM and Ctrl-C.

Outside a run they end the process at once, with the right exit code; nothing is lost by that. Within a run they set a
flag that the scheduler polls, so that it can commit the shards that are nearly done.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Protocol

#: A signal whose exception was raised. Python drops exceptions that are raised in finalizers; the run then continues,
#: and the next `StopSignal` picks the signal up.
_raised: int | None = None


def exit_on_sigterm() -> None:
    """Let SIGTERM raise `SystemExit(143)`, so that Ray is shut down, and that process 1 of a container ends at all."""
    signal.signal(signal.SIGTERM, _raise)
    signal.signal(signal.SIGINT, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    global _raised
    _raised = number
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


class StopRequest(Protocol):
    """A request from another thread to stop a run, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """Whether to stop."""


class StopSignal:
    """Context that records the first SIGTERM or SIGINT instead of raising; a second SIGINT interrupts at once.

    Args:
        request: stops like SIGTERM; for runs in a thread, which receives no signals.
        on_signal: called when the first signal arrives, so that a display can show it at once.
    """

    def __init__(self, request: StopRequest | None = None, on_signal: Callable[[], None] = lambda: None) -> None:
        self._number: int | None = None
        self._request = request
        self._on_signal = on_signal
        self._previous: dict[int, object] = {}

    @property
    def number(self) -> int | None:
        """Number of the signal that arrived, or None."""
        if self._number is None and self._request is not None and self._request.is_set():
            return signal.SIGTERM
        return self._number

    def __enter__(self) -> StopSignal:
        # Only the main thread may set handlers; elsewhere the owner of the process handles signals.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._handle)
            if _raised is not None:
                self.record(_raised)
        return self

    def record(self, number: int) -> None:
        """Record a signal that was received elsewhere."""
        if self._number is None:
            self._number = number
            self._on_signal()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.record(number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
