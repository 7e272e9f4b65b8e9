"""The callbacks through which a backfill reports to a terminal or a Prefect page."""

from __future__ import annotations

from flows.backfill.grid import Grid
from flows.jobs.contract import JobStatus
from pipeline.jobs.job import JobProgress


class Observer:
    """Callbacks of a backfill; override those that you need."""

    #: Whether to fetch the jobs' logs.
    wants_log = False

    def grid(self, grid: Grid) -> None:
        """A row changed."""

    def job(self, status: JobStatus) -> None:
        """A job started, was found running, or ended."""

    def progress(self, job_id: str, progress: JobProgress) -> None:
        """A job made progress."""

    def log(self, job_id: str, text: str) -> None:
        """A job's log grew."""
