"""Handles SIGTERM and Ctrl-C at every moment of a process.

    exit_at_once      while there is nothing to clean up: ends the process (`actors/exiting.py`)
    raise_on_signals  while a command works: raises `Interrupted`, so that temporary files and Ray are cleaned up
    StopSignal        while actors work: sets a flag, so that shards that are nearly done are committed
    hold_signals      once the outcome is known: keeps the signal until the outcome is reported, or the next run begins

Foreign code may drop or translate an exception that a signal handler raises: finalizers drop it, DuckDB and faiss turn
it into their own. `raise_on_signals` delivers a dropped one again, and `named` restores a translated one.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Protocol

from actors.exiting import AGAIN, SIGNALS, ExitAtOnce, stop_message

#: A signal whose exception was raised; the next `StopSignal` picks it up, in case the exception got lost.
_raised: int | None = None
_raised_s = 0.0
#: Whether signals are held.
_held = False
#: Cleaning up takes no longer; a signal that arrives meanwhile must not interrupt it.
_CLEANUP_S = 5.0
_REDELIVER_S = 0.02


class Interrupted(SystemExit):
    """A signal ended the work. As a `SystemExit` it passes `except Exception`, and has the right exit code."""

    def __init__(self, number: int, cure: str = AGAIN) -> None:
        super().__init__(128 + number)
        self.number = number
        self.message = stop_message(number, cure)


def raise_on_signals() -> None:
    """Let signals raise `Interrupted`, so that Ray is shut down, and that process 1 of a container ends at all."""
    global _raised, _held
    _raised, _held = None, False
    if not isinstance(sys.unraisablehook, _Redelivery):
        sys.unraisablehook = _Redelivery(sys.unraisablehook)
    for number in SIGNALS:
        signal.signal(number, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    global _raised, _raised_s
    if _raised is None:
        _raised, _raised_s = number, time.monotonic()
        if not _held:
            raise Interrupted(number)
    elif time.monotonic() - _raised_s > _CLEANUP_S:
        ExitAtOnce()(_raised, frame)


def hold_signals() -> None:
    """Let no signal cut off the report of an outcome that is known. Other threads receive none, so nothing is held."""
    global _held
    _held = threading.current_thread() is threading.main_thread()


def release_signals() -> None:
    """Let signals raise again, beginning with one that was held."""
    global _held
    held, _held = _held, False
    if held and _raised is not None:
        raise Interrupted(_raised)


class _Redelivery:
    """Raises again what was raised inside a finalizer or a callback, where Python reports exceptions and drops them."""

    def __init__(self, report: Callable[[sys.UnraisableHookArgs], object]) -> None:
        self._report = report

    def __call__(self, dropped: sys.UnraisableHookArgs) -> None:
        global _raised
        number = _raised
        if number is None or not isinstance(dropped.exc_value, Interrupted | KeyboardInterrupt):
            self._report(dropped)
            return
        _raised = None
        threading.Timer(_REDELIVER_S, os.kill, (os.getpid(), number)).start()


@contextmanager
def named() -> Iterator[None]:
    """Raise `Interrupted` in place of any other exception that follows from a signal."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(signal.SIGINT) from error
    except SystemExit as error:
        if _raised is None or _held or error.code != 1:  # Ray's calls raise 1 in place of any other code
            raise
        raise Interrupted(_raised) from error
    except Exception as error:
        if _raised is None:
            raise
        raise Interrupted(_raised) from error


def signal_of(error: KeyboardInterrupt | SystemExit) -> int:
    """The signal that caused `error`."""
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    return error.code - 128 if isinstance(error.code, int) and error.code > 128 else signal.SIGTERM


class StopRequest(Protocol):
    """A request from another thread to stop a run, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """Whether to stop."""


class StopSignal:
    """Context that records the first SIGTERM or SIGINT instead of raising; a second SIGINT interrupts at once.

    Args:
        request: stops like SIGTERM; for runs in a thread, which receives no signals.
    """

    def __init__(self, request: StopRequest | None = None) -> None:
        self._number: int | None = None
        self._request = request
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
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
            if _raised is not None:
                self.record(_raised)
        return self

    def record(self, number: int) -> None:
        """Record a signal that was received elsewhere."""
        if self._number is None:
            self._number = number

    def raise_if_stopped(self) -> None:
        """Raise `Interrupted` if a signal arrived."""
        if self.number is not None:
            raise Interrupted(self.number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._number is not None and number == signal.SIGINT:
            _raise(number, frame)
        self.record(number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
