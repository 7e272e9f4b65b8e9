"""Follows a running job: passes on new log text and new progress, each once, best effort."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flows.jobs.contract import JobBackend
from flows.jobs.errors import JobError
from pipeline.errors import StorageError
from pipeline.jobs.folder import read_progress
from pipeline.jobs.job import JobProgress, OnJobProgress

logger = logging.getLogger(__name__)

OnLog = Callable[[str], None]

#: Of a log that is longer when the follower attaches, only this much of the end is passed on.
TAIL_CHARS = 8000


class Follower:
    """Follows one job; each `step` passes on what is new."""

    def __init__(
        self, backend: JobBackend, job_id: str, out: str, on_log: OnLog | None, on_progress: OnJobProgress | None
    ) -> None:
        self._backend, self._job_id, self._out = backend, job_id, out
        self._on_log, self._on_progress = on_log, on_progress
        self._offset: int | None = None
        self._progress: JobProgress | None = None

    def step(self) -> None:
        """Fetch and pass on. What cannot be read or passed on now is tried again at the next step."""
        if self._on_log:
            self._pass_log(self._on_log)
        if self._on_progress:
            self._pass_progress(self._on_progress)

    def _pass_log(self, on_log: OnLog) -> None:
        try:
            text, offset = self._backend.logs(self._job_id, self._offset or 0)
        except JobError as error:
            logger.debug("The log of %s cannot be read now: %s", self._job_id, error)
            return
        if self._offset is None and len(text) > TAIL_CHARS:
            text = f"[earlier lines are in the whole log of {self._job_id}]\n" + text[-TAIL_CHARS:].partition("\n")[2]
        self._offset = offset
        if text:
            on_log(text)

    def _pass_progress(self, on_progress: OnJobProgress) -> None:
        try:
            progress = read_progress(self._out, self._job_id)
            if progress is not None and progress != self._progress:
                on_progress(progress)
                self._progress = progress
        except StorageError as error:
            logger.debug("The progress of %s cannot be passed on now: %s", self._job_id, error)
