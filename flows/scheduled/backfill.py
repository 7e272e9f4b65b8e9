"""The flow `backfill`: many partitions as groups of jobs, a bounded number at once. See `flows.backfill`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from flows.backfill.engine import Backfill
from flows.backfill.grid import Grid, GridRow
from flows.backfill.observer import Observer
from flows.backfill.request import BackfillRequest
from flows.facts.backfill import backfill_ended, counts
from flows.jobs.backends import make_backend
from flows.jobs.contract import JobStatus
from flows.jobs.target import TargetConfig
from flows.options.shell import backfill_command
from flows.scheduled.hooks import job_flow
from flows.scheduled.job import THIS_PROCESS
from flows.scheduled.outcome import end, started, with_job
from flows.scheduled.pages.artifacts import LiveTable, report_page
from flows.scheduled.pages.backfill import backfill_report
from flows.scheduled.pages.naming import DEFAULT_TIMEZONE, logical_date
from flows.scheduled.pages.summary import SummaryPage
from flows.terminal import figures
from pipeline.config import RunConfig
from pipeline.jobs.night import check

#: Larger tables make the flow run's page slow. The dataset's manifests have all rows.
_MOST_ROWS = 500


@job_flow
def backfill(config: RunConfig, request: BackfillRequest, target: TargetConfig = THIS_PROCESS) -> State[None]:
    """Embed past partitions: those that are missing, failed or stale, or all of them.

    Args:
        config: what to read, with {date} in every source address, which model, and where to write.
        request: which partitions, in what order, how many at once. Without an end, up to the day before the run was
            scheduled (UTC), however late it starts.
        target: where the jobs run.
    """
    request = request.until(logical_date(DEFAULT_TIMEZONE))  # the same days when a run is started again
    page = _Page(target)
    began_s = time.monotonic()
    grid = Backfill(request, check(config), target, make_backend(target), page, str(flow_run.id)).run()
    page.table.show(_table(grid), last=True)
    ended = backfill_ended(page.base, grid, request.dry_run)
    if request.dry_run:
        return end(ended)
    again = backfill_command(config, request, target)
    report = backfill_report(ended, grid, config, time.monotonic() - began_s, again)
    return end(replace(ended, report_url=report_page("backfill", report)))


class _Page(Observer):
    """Shows the grid as a table, and its tally and latest job on the summary."""

    wants_log = True

    def __init__(self, target: TargetConfig) -> None:
        self._target = target
        self.table = LiveTable("backfill-grid", "Every partition and its status")
        self._summary = SummaryPage.here()
        #: The summary so far.
        self.base = self._summary.held or started("backfill", flow_run.parameters)
        self._logger = get_run_logger()

    def grid(self, grid: Grid) -> None:
        """Update the table and the summary."""
        self.table.show(_table(grid))
        self.base = replace(self.base, progress=f"{figures.share(_share(grid))}: {counts(grid)}")
        self._summary.update(self.base)

    def job(self, status: JobStatus) -> None:
        """Log each change of a job, and link to the latest."""
        self._logger.info("Job %s is %s %s", status.job_id, status.state, status.message)
        self.base = with_job(self.base, status, self._target)
        # At once: after a crash or a cancellation only the page shows whether a job was started.
        self._summary.show(self.base)

    def log(self, job_id: str, text: str) -> None:
        """Log a part of the job's log, with the job's id."""
        self._logger.info("%s: %s", job_id, text.rstrip())


def _share(grid: Grid) -> float:
    ended = [row for row in grid.rows if row.exit_code is not None]
    return len(ended) / max(1, len(ended) + grid.left)


def _table(grid: Grid) -> list[dict[str, Any]]:
    return [_cells(row) for row in grid.rows[:_MOST_ROWS]]


def _cells(row: GridRow) -> dict[str, Any]:
    return {
        "partition": row.key,
        "status": row.status,
        "why": row.why,
        "rows": row.rows,
        "embedded": row.embedded,
        "quarantined": row.quarantined,
        "seconds": round(row.seconds, 1),
        "job": row.job,
        "note": row.message,
    }
