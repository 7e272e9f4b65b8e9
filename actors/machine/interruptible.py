"""Calls foreign code that may block for minutes, in a way that a signal or a deadline ends.

Python handles signals in its main thread, between two instructions. While that thread waits inside Ray's C++ code,
Ctrl-C and SIGTERM have no effect. So the call runs in a thread, and the main thread waits where signals are handled.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from actors.stopping import StopSignal

_POLL_S = 0.1

_T = TypeVar("_T")


def interruptible(
    call: Callable[[], _T],
    stop: StopSignal,
    timeout_s: float,
    until: threading.Event | None = None,
    check: Callable[[], None] = lambda: None,
) -> _T:
    """The result of `call`, whose exceptions are raised here.

    Args:
        call: what to do.
        stop: records signals.
        timeout_s: how long to wait.
        until: how long the thread of the call lives. Processes that Ray starts die with the thread that started them
            (PR_SET_PDEATHSIG).
        check: called ten times a second meanwhile; what it raises abandons the call.

    Raises:
        SystemExit: a signal arrived; the call is abandoned.
        TimeoutError: the call took longer than `timeout_s` and is abandoned.
    """
    results: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()
    threading.Thread(target=_report, args=(call, results, until), daemon=True).start()
    end_s = time.monotonic() + timeout_s
    while True:
        try:
            result, error = results.get(timeout=_POLL_S)
        except queue.Empty:
            stop.raise_if_stopped()
            if time.monotonic() > end_s:
                raise TimeoutError(f"no result within {timeout_s:g} s") from None
            check()
            continue
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # there is a result whenever there is no error


def _report(
    call: Callable[[], _T],
    results: queue.SimpleQueue[tuple[_T | None, BaseException | None]],
    until: threading.Event | None,
) -> None:
    try:
        results.put((call(), None))
    except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
        results.put((None, error))
    if until is not None:
        until.wait()
