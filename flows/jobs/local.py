"""Backend `local`: runs the driver in a thread of this process. Needs no server and no dashboard, only Ray.

In: a job. Out: its status while this process lives. Jobs of other processes are unknown here; their folders show how
they ended (`flows.jobs.attach.inspect`). Jobs run one at a time, since a process has one Ray connection; waiting jobs
are PENDING.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from flows.jobs.contract import JobSpec, JobState, JobStatus
from flows.jobs.driver import write
from flows.jobs.errors import TransientJobError
from pipeline.faults import translated
from pipeline.jobs.job import JobSummary

#: Runs a job: URI of its `job.json` in, its summary out; returns soon after the event is set.
Drive = Callable[[str, threading.Event], JobSummary]

_STOP_MARGIN_S = 30.0
logger = logging.getLogger(__name__)
_one_at_a_time = threading.Lock()
_jobs: dict[str, _LocalJob] = {}
_jobs_lock = threading.Lock()


def _driver() -> Drive:
    """The driver, which needs Ray: callers of other backends do without. Raises MissingPackageError."""
    with translated():
        from actors.driver import run_job
    return lambda uri, stop: run_job(uri, stop=stop)


class LocalJobs:
    """All jobs of this process, whichever instance started them."""

    def __init__(self, stop_wait_s: float, drive: Drive | None = None) -> None:
        self._stop_wait_s = stop_wait_s
        self._drive = drive

    def submit(self, job_id: str, spec: JobSpec) -> None:
        """Write `job.json` and start the thread, unless this process knows the job."""
        with _jobs_lock:
            if job_id in _jobs:
                return
            drive = self._drive or _driver()
            _jobs[job_id] = job = _LocalJob(job_id, spec, write(job_id, spec), drive)
        job.start()

    def status(self, job_id: str) -> JobStatus | None:
        """A job of this process."""
        job = _jobs.get(job_id)
        return job.status() if job else None

    def logs(self, job_id: str, offset: int) -> tuple[str, int]:
        """What the driver's thread logged, at the log levels of this process."""
        job = _jobs.get(job_id)
        text = "".join(job.lines) if job else ""
        return text[offset:], max(offset, len(text))

    def stop(self, job_id: str) -> None:
        """Ask the driver to stop and wait for it."""
        if job := _jobs.get(job_id):
            job.stopping.set()
            job.join(self._stop_wait_s + _STOP_MARGIN_S)
            if job.is_alive():
                raise TransientJobError(f"Job {job_id} did not stop in time. Stop it again, or end the process.")

    def find(self, **metadata: str) -> list[JobStatus]:
        """Jobs of this process with this metadata."""
        with _jobs_lock:
            jobs = list(_jobs.values())
        return [job.status() for job in reversed(jobs) if metadata.items() <= dict(job.spec.metadata).items()]


class _LocalJob(threading.Thread):
    """One job. A daemon thread: the process does not wait for it at exit, and the job is then lost."""

    def __init__(self, job_id: str, spec: JobSpec, uri: str, drive: Drive) -> None:
        super().__init__(name=job_id, daemon=True)
        self.spec, self.uri, self.drive = spec, uri, drive
        self.stopping = threading.Event()
        self.lines: list[str] = []
        self._lock = threading.Lock()
        self._status = JobStatus(job_id, JobState.PENDING, metadata=dict(spec.metadata))

    def status(self) -> JobStatus:
        """The current status."""
        with self._lock:
            return self._status

    def run(self) -> None:
        """Wait for other jobs, run the driver, record the end."""
        with _one_at_a_time, _Lines(self.lines):
            if self.stopping.is_set():
                self._set(replace(self.status(), state=JobState.STOPPED, message="Stopped before it started."))
                return
            self._set(replace(self.status(), state=JobState.RUNNING))
            try:
                self._set(self.status().ended_by(self.drive(self.uri, self.stopping)))
            except BaseException as error:
                logger.exception("Job %s died", self.name)
                message = f"{type(error).__name__}: {error}"
                self._set(replace(self.status(), state=JobState.FAILED, message=message, exit_code=1))

    def _set(self, status: JobStatus) -> None:
        now = datetime.now(UTC)
        with self._lock:
            self._status = replace(
                status, started_at=status.started_at or now, ended_at=now if status.state.over else None
            )


class _Lines(logging.Handler):
    """Context that also keeps the log records of the current thread as text."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._lines = lines
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record of this thread."""
        if record.thread == self._thread:
            self._lines.append(self.format(record) + "\n")

    def __enter__(self) -> _Lines:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
