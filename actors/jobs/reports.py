"""How a job goes, told to whoever asks: the caller's function, `progress.json`, the log, and at last `summary.json`.

In: the progress of the run or step that is under way. Out: a `JobProgress` about twice a second to the caller, every
few seconds to the file, in the background, since a store that is slow must not hold up the work.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from dataclasses import replace
from functools import partial

from actors.reporting.files import POLICY, Background
from actors.reporting.run_log import RunLog
from actors.stopping import Wish
from pipeline.jobs import folder as job_folder
from pipeline.jobs.folder import Job, JobProgress, JobSummary, OnJobProgress, StepProgress
from pipeline.jobs.progress import OnProgress, Progress
from pipeline.phases import OnPhase

logger = logging.getLogger(__name__)

_FILE_EVERY_S = 5.0
_CALL_EVERY_S = 0.5


class Reports:
    """Of the job whose `job.json` is at `uri`."""

    def __init__(self, uri: str, job: Job, on_progress: OnJobProgress | None) -> None:
        self._uri = uri
        self._now = JobProgress(job_folder.job_id_of(uri), "running", 0, len(job.runs), steps=len(job.steps))
        self._on_progress = on_progress or (lambda _: None)
        self._files = Background()
        self._written_s = -_FILE_EVERY_S
        self._over = threading.Event()
        self._renewing: list[threading.Thread] = []

    def of_run(self, number: int, log: RunLog) -> OnProgress:
        """What run `number` is to call."""

        def report(progress: Progress) -> None:
            log.update(progress)
            self._tell(replace(self._now, run=number, progress=progress.to_json()))

        return report

    def of_step(self, number: int, kind: str, wish: Wish | None) -> OnPhase:
        """What step `number` is to call. There it also stops when that is wished, as it does at a signal.

        Sorting or grouping millions of rows says nothing for minutes; the file is renewed all the same, since whoever
        comes back to a job takes a driver whose file stands still for dead.
        """
        last, told_s, began_s = "", 0.0, time.monotonic()

        def on_phase(doing: str, done: int, total: int | None) -> None:
            nonlocal last, told_s
            if wish is not None and wish.is_set():
                raise SystemExit(128 + signal.SIGTERM)
            if doing != last:
                logger.info("%s: %s", kind, doing)
            elif time.monotonic() - told_s < _CALL_EVERY_S:
                return
            last, told_s = doing, time.monotonic()
            step = StepProgress(number, kind, doing, done, total, round(told_s - began_s, 1))
            self._tell(replace(self._now, run=self._now.runs, progress=None, step=step))

        self._renewing.append(threading.Thread(target=self._renew, args=(number, began_s), daemon=True))
        self._renewing[-1].start()
        return on_phase

    def _renew(self, number: int, began_s: float) -> None:
        """Keep the file changing until step `number` or the job is over."""
        while not self._over.wait(_FILE_EVERY_S):
            now = self._now
            if now.step and now.step.number != number:
                return
            if now.step and self._files.idle:
                step = replace(now.step, seconds=round(time.monotonic() - began_s, 1))
                self._write_progress(replace(now, step=step))

    def end(self, summary: JobSummary) -> None:
        """Report the end, and wait until it is written."""
        self._over.set()
        for thread in self._renewing:
            thread.join()
        self._now = replace(self._now, state=summary.state)
        self._on_progress(self._now)
        self._write_progress(self._now)
        self._files.write(f"The summary of {self._uri}", partial(job_folder.write_summary, self._uri, summary, POLICY))
        self._files.close()

    def _tell(self, now: JobProgress) -> None:
        self._now = now
        self._on_progress(now)
        if self._files.idle and time.monotonic() - self._written_s >= _FILE_EVERY_S:
            self._written_s = time.monotonic()
            self._write_progress(now)

    def _write_progress(self, now: JobProgress) -> None:
        write = partial(job_folder.write_progress, self._uri, now, POLICY)
        self._files.write(f"The progress of {self._uri}", write)
