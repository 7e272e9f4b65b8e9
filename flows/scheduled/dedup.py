"""The flow `dedup`: find the duplicates of a dataset, as a job."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows.jobs.target import TargetConfig
from flows.scheduled.curate import carry_out
from flows.scheduled.hooks import show_unreported, stop_jobs
from flows.scheduled.job import THIS_PROCESS
from flows.scheduled.outcome import reported
from flows.scheduled.pages.naming import run_name
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.jobs.steps import DedupStep

_DEFAULTS = DedupSettings()


@flow(flow_run_name=run_name, on_cancellation=[stop_jobs], on_failure=[stop_jobs], on_crashed=[show_unreported])
@reported
def dedup(out: str, settings: DedupSettings = _DEFAULTS, target: TargetConfig = THIS_PROCESS) -> State[None]:
    """Find duplicates among the latest rows and choose one row of each group; the next run compares only new rows.

    Args:
        out: the dataset; its table of duplicates is written into it.
        settings: what counts as a duplicate, and which row of a group is kept: the options of `hanclip dedup`.
        target: where the job runs.
    """
    return carry_out(DedupStep(out=out, settings=settings), target)
