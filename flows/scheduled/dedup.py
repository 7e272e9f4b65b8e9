"""The flow `dedup`: find the duplicates of a dataset, as a job."""

from __future__ import annotations

from prefect.client.schemas.objects import State

from flows.jobs.target import TargetConfig
from flows.scheduled.curate import carry_out
from flows.scheduled.hooks import job_flow
from flows.scheduled.job import THIS_PROCESS
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.jobs.steps import DedupStep

_DEFAULTS = DedupSettings()


@job_flow
def dedup(out: str, settings: DedupSettings = _DEFAULTS, target: TargetConfig = THIS_PROCESS) -> State[None]:
    """Find duplicates among the latest rows and choose one row of each group; the next run compares only new rows.

    Args:
        out: the dataset; its table of duplicates is written into it.
        settings: what counts as a duplicate, and which row of a group is kept: the options of `hanclip dedup`.
        target: where the job runs.
    """
    return carry_out(DedupStep(out=out, settings=settings), target)
