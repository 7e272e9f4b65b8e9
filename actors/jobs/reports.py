"""Reports a job: calls back, logs, and writes `progress.json` and at last `summary.json`.

In: the progress of the current run or step. Out: a `JobProgress` to the callback about twice a second, and to the file
every few seconds, in the background, so that a slow store does not hold up the work.
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
from actors.stopping import StopRequest
from pipeline.jobs.folder import job_id_of, write_progress, write_summary
from pipeline.jobs.job import Job, JobProgress, JobSummary, OnJobProgress, StepProgress
from pipeline.jobs.progress import OnProgress, Progress
from pipeline.phases import OnPhase

logger = logging.getLogger(__name__)

_FILE_EVERY_S = 5.0
_CALL_EVERY_S = 0.5


class Reports:
    """Reports of the job whose `job.json` is at `uri`."""

    def __init__(self, uri: str, job: Job, on_progress: OnJobProgress | None) -> None:
        self._uri = uri
        self._now = JobProgress(job_id_of(uri), "running", 0, len(job.runs), steps=len(job.steps))
        self._on_progress = on_progress or (lambda _: None)
        self._files = Background()
        self._written_s = -_FILE_EVERY_S
        self._over = threading.Event()
        self._refreshers: list[threading.Thread] = []

    def of_run(self, number: int, log: RunLog) -> OnProgress:
        """The callback for run `number`."""

        def report(progress: Progress) -> None:
            log.update(progress)
            self._report(replace(self._now, run=number, progress=progress))

        return report

    def of_step(self, number: int, kind: str, request: StopRequest | None) -> OnPhase:
        """The callback for step `number`, which also stops the step if `request` is set, as a signal does.

        Sorting or grouping millions of rows reports nothing for minutes. A thread refreshes the file meanwhile, because
        others treat a driver as dead when its progress file is stale.
        """
        last, reported_s, began_s = "", 0.0, time.monotonic()

        def on_phase(doing: str, done: int, total: int | None) -> None:
            nonlocal last, reported_s
            if request is not None and request.is_set():
                raise SystemExit(128 + signal.SIGTERM)
            if doing != last:
                logger.info("%s: %s", kind, doing)
            elif time.monotonic() - reported_s < _CALL_EVERY_S:
                return
            last, reported_s = doing, time.monotonic()
            step = StepProgress(number, kind, doing, done, total, round(reported_s - began_s, 1))
            self._report(replace(self._now, run=self._now.runs, progress=None, step=step))

        self._refreshers.append(threading.Thread(target=self._refresh, args=(number, began_s), daemon=True))
        self._refreshers[-1].start()
        return on_phase

    def _refresh(self, number: int, began_s: float) -> None:
        """Refresh the file until step `number` or the job is over."""
        while not self._over.wait(_FILE_EVERY_S):
            now = self._now
            if now.step and now.step.number != number:
                return
            if now.step and self._files.idle:
                step = replace(now.step, seconds=round(time.monotonic() - began_s, 1))
                self._write_progress(replace(now, step=step))

    def end(self, summary: JobSummary) -> None:
        """Report the end, and wait until the files are written."""
        self._over.set()
        for thread in self._refreshers:
            thread.join()
        self._now = replace(self._now, state=summary.state)
        self._on_progress(self._now)
        self._write_progress(self._now)
        self._files.write(f"The summary of {self._uri}", partial(write_summary, self._uri, summary, POLICY))
        self._files.close()

    def _report(self, now: JobProgress) -> None:
        self._now = now
        self._on_progress(now)
        if self._files.idle and time.monotonic() - self._written_s >= _FILE_EVERY_S:
            self._written_s = time.monotonic()
            self._write_progress(now)

    def _write_progress(self, now: JobProgress) -> None:
        write = partial(write_progress, self._uri, now, POLICY)
        self._files.write(f"The progress of {self._uri}", write)
