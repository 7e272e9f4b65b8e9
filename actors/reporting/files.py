"""Reports a run: calls back about twice a second, and writes `progress.json` every ten seconds, `summary.json` at last.

A store that is down must not block the scheduler, so a background thread writes the files, and a failed write is
logged and not raised: the next one replaces it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from actors.scheduler.meter import Meter
from pipeline import storage
from pipeline.dataset import layout
from pipeline.errors import StorageError
from pipeline.jobs.progress import OnProgress, Summary

logger = logging.getLogger(__name__)

_CALLBACK_EVERY_S = 0.5
_FILE_EVERY_S = 10.0
#: Short, because a store that is down must not delay the end of a run for minutes.
POLICY = replace(storage.DEFAULT_POLICY, timeout_s=10.0, retry_timeout_s=10.0)


class Background:
    """A thread that does writes in the background, in order."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reporting")
        self._last: Future[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether all writes have ended."""
        return self._last is None or self._last.done()

    def write(self, name: str, write: Callable[[], None]) -> None:
        """Call `write` in the thread; `name` identifies it in the log."""
        self._last = self._thread.submit(self._try, name, write)

    def close(self) -> None:
        """Wait for all writes to end."""
        self._thread.shutdown(wait=True)

    def _try(self, name: str, write: Callable[[], None]) -> None:
        try:
            write()
        except StorageError as error:
            logger.warning("Cannot write %s: %s", name, error)
        except Exception:  # a bug, which would stay in a future that nobody asks
            logger.exception("Cannot write %s", name)
            raise


class Reporter:
    """Reports one run, whose files are at `run_uri`."""

    def __init__(self, run_uri: str, meter: Meter, on_progress: OnProgress) -> None:
        self._run_uri = run_uri
        self._meter = meter
        self._on_progress = on_progress
        self._files = Background()
        self._called_s = self._written_s = 0.0
        self._state = ""

    def report_if_due(self) -> None:
        """Report a new state at once, and otherwise if enough time has passed; cheap enough for every iteration."""
        if self._meter.current_state != self._state or time.monotonic() - self._called_s >= _CALLBACK_EVERY_S:
            self.report()

    def report(self) -> None:
        """Report now."""
        self._called_s = time.monotonic()
        progress = self._meter.progress()
        self._state = progress.state
        self._on_progress(progress)
        if self._files.idle and self._called_s - self._written_s >= _FILE_EVERY_S:
            self._written_s = self._called_s
            self._write(layout.PROGRESS, progress.to_json())

    def close(self, summary: Summary) -> None:
        """Report the end, and write `summary.json`."""
        self._on_progress(self._meter.progress())
        if summary.rows_planned:
            self._write(layout.PROGRESS, self._meter.progress().to_json())
        self._write(layout.SUMMARY, summary.to_json())
        self._files.close()

    def _write(self, name: str, plain: dict[str, object]) -> None:
        uri = storage.join(self._run_uri, name)
        data = json.dumps(plain, indent=2, ensure_ascii=False).encode()
        self._files.write(uri, lambda: storage.overwrite(uri, data, POLICY))
