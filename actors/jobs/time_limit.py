"""Ends a job that has run for too long, from inside its driver, whoever else watches it.

In: the limit, and a request to stop by somebody else. Out: a request to stop that the runs poll. In the main thread a
SIGTERM to this process also interrupts what polls nothing, such as a listing. Time is measured by this process's own
monotonic clock.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from actors.stopping import StopRequest

logger = logging.getLogger(__name__)


class TimeLimit:
    """Context around the work of a job; a `StopRequest`.

    Args:
        timeout_s: seconds until the job is asked to stop; None for no limit.
        request: another request to stop, or None.
        patience_s: seconds that it may take to stop after that.
        give_up: called in another thread after `patience_s` if the block has not ended; only if it began in the main
            thread, since the process of another thread is not ours to end.

    Attributes:
        expired: whether the limit was reached within the block.
    """

    def __init__(
        self, timeout_s: float | None, request: StopRequest | None, patience_s: float, give_up: Callable[[], None]
    ) -> None:
        self.expired = False
        self._timeout_s, self._request = timeout_s, request
        self._patience_s, self._give_up = patience_s, give_up
        self._over = threading.Event()

    def is_set(self) -> bool:
        """Whether to stop."""
        return self.expired or (self._request is not None and self._request.is_set())

    def __enter__(self) -> Self:
        if self._timeout_s is not None:
            own_process = threading.current_thread() is threading.main_thread()
            threading.Thread(target=self._watch, args=(self._timeout_s, own_process), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()

    def _watch(self, timeout_s: float, own_process: bool) -> None:
        if self._over.wait(timeout_s):
            return
        self.expired = True
        logger.warning("The job has run for its limit of %g s and is stopped", timeout_s)
        if not own_process:
            return
        if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:  # which would end the process without a summary
            os.kill(os.getpid(), signal.SIGTERM)
        if not self._over.wait(self._patience_s):
            self._give_up()
