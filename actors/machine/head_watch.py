"""Reports a head of Ray that no longer answers, before Ray ends this process without a reason.

Ray waits a minute for a head that went away, then exits the process from C++: no exception, no summary.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from actors.machine.head import accepts
from pipeline.errors import RunError

logger = logging.getLogger(__name__)

_EVERY_S = 5.0
#: Less than the minute after which Ray exits.
_LOST_S = 30.0


@contextmanager
def head_watched(address: str) -> Iterator[None]:
    """Watch the head at `address` in a thread while the block runs."""
    ended = threading.Event()
    watch = partial(_watch, address, partial(accepts, address, ""), ended, _EVERY_S, _LOST_S)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _watch(address: str, ask: Callable[[], bool], ended: threading.Event, every_s: float, lost_s: float) -> None:
    """Log an error once if `ask` raises for longer than `lost_s`."""
    answered_s = time.monotonic()
    while not ended.wait(every_s):
        try:
            ask()
        except RunError as error:
            if time.monotonic() - answered_s >= lost_s and not ended.is_set():
                logger.error(  # noqa: TRY400 - the traceback says nothing
                    "The head of Ray at %s has not answered for %.0f s, and Ray will end this run: %s Committed shards"
                    " stay; run the same command again when Ray is back.",
                    address,
                    time.monotonic() - answered_s,
                    error,
                )
                return
        else:
            answered_s = time.monotonic()
