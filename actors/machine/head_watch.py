"""Notices that the head of Ray is gone, before Ray ends this process.

Ray waits a minute for a head that went away, then exits the process from C++: no exception, no summary. A head that is
only slow still accepts connections, and is not lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from actors.machine.head import connect
from pipeline.errors import RunError

logger = logging.getLogger(__name__)

_EVERY_S = 2.0
#: Long enough for a head that is restarted with its state, and less than the minute after which Ray exits: a run ends
#: by `require`; what has no run is at least logged.
_LOST_S = 40.0
_LOG_S = 50.0


class HeadWatch:
    """Watches one head.

    Args:
        address: for messages.
        ask: returns if the head answers, and raises a RunError if not.
    """

    def __init__(self, address: str, ask: Callable[[], object], lost_s: float = _LOST_S, log_s: float = _LOG_S) -> None:
        self._address, self._ask = address, ask
        self._lost_s, self._log_s = lost_s, log_s
        self._loss = ""
        self._answers = True
        self._ended = threading.Event()

    @property
    def answers(self) -> bool:
        """Whether the head answered the last time; if not, calls to Ray's global state block."""
        return self._answers

    @property
    def lost(self) -> bool:
        """Whether the head has not answered for long."""
        return self._loss != ""

    def require(self) -> None:
        """Raise a RunError if the head is lost."""
        if self._loss:
            raise RunError(self._loss)

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()

    def watch(self, every_s: float = _EVERY_S) -> None:
        """Ask again and again, until `end`."""
        answered_s, logged = time.monotonic(), False
        while not self._ended.wait(every_s):
            try:
                self._ask()
                answered_s, logged, self._loss, self._answers = time.monotonic(), False, "", True
            except RunError as error:
                self._answers = False
                silent_s = time.monotonic() - answered_s
                if silent_s >= self._lost_s:
                    self._loss = self._message(silent_s, error)
                if silent_s >= self._log_s and not logged and not self._ended.is_set():
                    logged = True
                    logger.error("%s", self._loss)  # noqa: TRY400 - the traceback shows nothing else

    def _message(self, silent_s: float, error: RunError) -> str:
        return (
            f"The head of Ray at {self._address} has not answered for {silent_s:.0f} s: {error} Committed shards stay;"
            " run the same command again when Ray is back."
        )


@contextmanager
def head_watched(address: str) -> Iterator[HeadWatch]:
    """Watch the head at `address` in a thread while the block runs."""
    watch = HeadWatch(address, partial(connect, address))
    threading.Thread(target=watch.watch, daemon=True).start()
    try:
        yield watch
    finally:
        watch.end()
