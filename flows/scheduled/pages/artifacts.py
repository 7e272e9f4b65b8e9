"""What a person sees on the page of a flow run: the plan, the job's link, live progress, the report.

Keys are the same every night, so that Prefect's artifact page shows the newest of each and its history.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
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

from actors.dry_run import DryRun
from flows.facts.dry_run import dry_run_facts
from flows.jobs.contract import JobStatus
from flows.terminal import figures
from pipeline.jobs.job import JobProgress, JobRun, StepProgress
from pipeline.jobs.steps import Step

logger = logging.getLogger(__name__)

_EVERY_S = 5.0


@contextmanager
def best_effort() -> Iterator[None]:
    """Showing is not the work: while the Prefect server is away, the job is watched all the same."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("An artifact was not written: %s. The next one may be, when the server answers.", error)


def plan_table(flow: str, runs: Sequence[JobRun], steps: Sequence[Step] = ()) -> None:
    """What is going to be read, a row per run. How many rows are new, the job finds out when it plans."""
    table = [
        {
            "date": run.key or str(run.config.output.run_date or "today (UTC)"),
            "source": ", ".join(run.config.source.uris),
            "model": run.config.model.name,
            "output": run.config.output.uri,
        }
        for run in runs
    ]
    text = ", then ".join([f"What this run reads, and where to: {len(runs)} runs", *(step.kind for step in steps)])
    with best_effort():
        create_table_artifact(table, key=f"{flow}-plan", description=text)


def step_table(flow: str, step: Step) -> None:
    """What a flow over a finished dataset is asked for, as far as it is not the default."""
    asked = step.settings.model_dump(mode="json", exclude_defaults=True)
    shown = {name: json.dumps(value, ensure_ascii=False) for name, value in asked.items()}
    table = [{"what": name, "value": value} for name, value in {"dataset": step.out, **shown}.items()]
    with best_effort():
        create_table_artifact(table, key=f"{flow}-plan", description="What this run does; all else is as by default")


def dry_table(flow: str, dry: DryRun) -> None:
    """What a dry run found: rows and bytes to do, and how long it would take."""
    table = [{"what": name, "value": str(value)} for name, value in dry_run_facts(dry)]
    create_table_artifact(table, key=f"{flow}-plan", description="Dry run: nothing was started")


def job_link(flow: str, status: JobStatus) -> None:
    """Where to look at the job itself; a job of this process has no page."""
    if status.url:
        with best_effort():
            create_link_artifact(status.url, link_text=f"Ray job {status.job_id}", key=f"{flow}-job")


def report_page(flow: str, markdown: str) -> None:
    """The report."""
    with best_effort():
        create_markdown_artifact(markdown, key=f"{flow}-report", description="How it ended, and how to run it again")


class LiveProgress:
    """A bar. It begins when there is first something to tell, and moves every few seconds."""

    def __init__(self, flow: str) -> None:
        self._flow = flow
        self._id: UUID | None = None
        self._told_s = -_EVERY_S

    def update(self, progress: JobProgress) -> None:
        """Show how far a job is, unless the bar has just moved."""
        if progress.state == "running":
            self.show(fraction(progress), describe(progress))

    def show(self, share: float, text: str, *, last: bool = False) -> None:
        """Show a share, 0 to 1, and a sentence, unless the bar has just moved."""
        if time.monotonic() - self._told_s < _EVERY_S and not last:
            return
        self._told_s = time.monotonic()
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
    """A table that is replaced every few seconds."""

    def __init__(self, key: str, description: str) -> None:
        self._key, self._description = key, description
        self._id: UUID | None = None
        self._told_s = -_EVERY_S

    def show(self, table: list[dict[str, Any]], *, last: bool = False) -> None:
        """Show `table`, unless it has just changed."""
        if time.monotonic() - self._told_s < _EVERY_S and not last:
            return
        self._told_s = time.monotonic()
        with best_effort():
            if self._id is None:
                made = create_table_artifact(table, key=self._key, description=self._description)
                self._id = cast(UUID, made)
            else:
                with get_client(sync_client=True) as client:
                    client.update_artifact(self._id, ArtifactUpdate(data=json.dumps(table)))


def fraction(progress: JobProgress) -> float:
    """How much of a job is done, 0 to 1; runs and steps count equally, since their sizes are known late."""
    if progress.state == "complete":
        return 1.0
    parts = max(1, progress.runs + progress.steps)
    if progress.step:
        # What a step does first says nothing of how long the next things take; a bar must not go back.
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
