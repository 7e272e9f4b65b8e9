"""SIGTERM and Ctrl-C: an end with the right exit code before and after a run, a flag that is looked at within one.

The flag lets the scheduler commit the shards that are nearly done. Elsewhere nothing is lost by stopping at once.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Protocol

#: A signal whose exception was raised. Python drops exceptions that are raised in finalizers; then the run goes on,
#: and the next `StopSignal` takes notice.
_raised: int | None = None


def exit_on_sigterm() -> None:
    """Let SIGTERM end the process with 143 by an exception, so that Ray is shut down and, as process 1, at all."""
    signal.signal(signal.SIGTERM, _raise)
    signal.signal(signal.SIGINT, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    global _raised
    _raised = number
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


class Wish(Protocol):
    """Somebody's wish that a run stop, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """Whether to stop."""


class StopSignal:
    """Context in which the first SIGTERM or SIGINT is noted; a second SIGINT interrupts at once.

    Args:
        wish: stops like SIGTERM; for runs in a thread, which no signal reaches.
        noted: called when the first signal arrives, so that a person sees at once that it did.
    """

    def __init__(self, wish: Wish | None = None, noted: Callable[[], None] = lambda: None) -> None:
        self._number: int | None = None
        self._wish = wish
        self._noted = noted
        self._before: dict[int, object] = {}

    @property
    def number(self) -> int | None:
        """Of the signal that arrived, or None."""
        if self._number is None and self._wish is not None and self._wish.is_set():
            return signal.SIGTERM
        return self._number

    def __enter__(self) -> StopSignal:
        # Only the main thread may set handlers; elsewhere whoever owns the process decides about signals.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._handle)
            if _raised is not None:
                self.note(_raised)
        return self

    def note(self, number: int) -> None:
        """Note a signal that somebody else received."""
        if self._number is None:
            self._number = number
            self._noted()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.note(number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
