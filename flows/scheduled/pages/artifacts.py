"""Writes the artifacts of a flow run: the plan, a link to the job, live progress, the report.

Their keys are the same every night, so that Prefect's artifact page shows the latest of each and its history.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import PrefectException

from flows.facts.dry_run import dry_run_facts
from flows.jobs.contract import JobStatus
from flows.terminal import figures
from pipeline.jobs.job import JobProgress, JobRun, StepProgress
from pipeline.jobs.steps import Step

if TYPE_CHECKING:
    from actors.dry_run import DryRun  # Ray, which a flow's process does not need

logger = logging.getLogger(__name__)

_EVERY_S = 5.0


@contextmanager
def best_effort() -> Iterator[None]:
    """Tolerates errors of the Prefect server: the job is followed even if artifacts cannot be written."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("An artifact was not written: %s. The next update is tried when it is due.", error)


def plan_table(flow: str, runs: Sequence[JobRun], steps: Sequence[Step] = ()) -> None:
    """A row for each run. The job determines the number of new rows when it plans."""
    table = [
        {
            "date": run.key or str(run.config.output.run_date or "today (UTC)"),
            "source": ", ".join(run.config.source.uris),
            "model": run.config.model.name,
            "output": run.config.output.uri,
        }
        for run in runs
    ]
    text = ", then ".join([f"Sources and output of this run: {len(runs)} runs", *(step.kind for step in steps)])
    with best_effort():
        create_table_artifact(table, key=f"{flow}-plan", description=text)


def step_table(flow: str, step: Step) -> None:
    """The settings of a flow over a finished dataset that differ from the defaults."""
    changed = step.settings.model_dump(mode="json", exclude_defaults=True)
    shown = {name: json.dumps(value, ensure_ascii=False) for name, value in changed.items()}
    table = [{"what": name, "value": value} for name, value in {"dataset": step.out, **shown}.items()]
    with best_effort():
        create_table_artifact(table, key=f"{flow}-plan", description="Settings of this run; others have their defaults")


def dry_table(flow: str, dry: DryRun) -> None:
    """What a dry run found."""
    table = [{"what": name, "value": str(value)} for name, value in dry_run_facts(dry)]
    create_table_artifact(table, key=f"{flow}-plan", description="Dry run: nothing was started")


def job_link(flow: str, status: JobStatus) -> None:
    """A link to the job's page; a job in this process has none."""
    if status.url:
        with best_effort():
            create_link_artifact(status.url, link_text=f"Ray job {status.job_id}", key=f"{flow}-job")


def report_page(flow: str, markdown: str) -> None:
    """Write the report."""
    with best_effort():
        create_markdown_artifact(markdown, key=f"{flow}-report", description="How it ended, and how to run it again")


class LiveProgress:
    """A progress bar, created at the first update and then updated every few seconds."""

    def __init__(self, flow: str) -> None:
        self._flow = flow
        self._id: UUID | None = None
        self._shown_s = -_EVERY_S

    def update(self, progress: JobProgress) -> None:
        """Show a job's progress, unless the bar was just updated."""
        if progress.state == "running":
            self.show(fraction(progress), describe(progress))

    def show(self, share: float, text: str, *, last: bool = False) -> None:
        """Show a share, 0 to 1, and a sentence, unless the bar was just updated."""
        if time.monotonic() - self._shown_s < _EVERY_S and not last:
            return
        self._shown_s = time.monotonic()
        with best_effort():
            if self._id is None:
                made = create_progress_artifact(100 * share, key=f"{self._flow}-progress", description=text)
                self._id = cast(UUID, made)
            else:
                update_progress_artifact(self._id, 100 * share, description=text)

    def finish(self) -> None:
        """Fill the bar."""
        self.show(1.0, "done", last=True)


class LiveTable:
    """A table, replaced every few seconds."""

    def __init__(self, key: str, description: str) -> None:
        self._key, self._description = key, description
        self._id: UUID | None = None
        self._shown_s = -_EVERY_S

    def show(self, table: list[dict[str, Any]], *, last: bool = False) -> None:
        """Show `table`, unless it was just updated."""
        if time.monotonic() - self._shown_s < _EVERY_S and not last:
            return
        self._shown_s = time.monotonic()
        with best_effort():
            if self._id is None:
                made = create_table_artifact(table, key=self._key, description=self._description)
                self._id = cast(UUID, made)
            else:
                with get_client(sync_client=True) as client:
                    client.update_artifact(self._id, ArtifactUpdate(data=json.dumps(table)))


def fraction(progress: JobProgress) -> float:
    """The share of a job that is done, 0 to 1. Runs and steps count equally, because their sizes are not known yet."""
    if progress.state == "complete":
        return 1.0
    parts = max(1, progress.runs + progress.steps)
    if progress.step:
        # Later phases of a step may take longer than its first ones, and a bar must not move backwards.
        return (progress.runs + progress.step.number) / parts
    within = progress.progress.share if progress.progress else 0.0
    return min(1.0, (progress.run + within) / parts)


def describe(progress: JobProgress) -> str:
    """`run 3 of 8: running, 1,200 of 5,000 records, 210 records/s, 12 min 30 s left`."""
    if progress.step:
        return _describe_step(progress.step)
    place, run = f"run {progress.run + 1} of {progress.runs}", progress.progress
    if run is None:
        return f"{place}: {progress.state}"
    words = [f"{place}: {run.state}"]
    if run.rows_planned:
        words.append(f"{run.stats.records:,} of {run.rows_planned:,} records")
    if run.records_per_s:
        words.append(f"{figures.rate(run.records_per_s)} records/s")
    if run.eta_s:
        words.append(f"{figures.duration(run.eta_s)} left")
    return ", ".join(words)


def _describe_step(step: StepProgress) -> str:
    """`dedup: Comparing vectors, 3 of 12`."""
    return f"{step.kind}: {figures.phase(step.doing, step.done, step.total)}"
