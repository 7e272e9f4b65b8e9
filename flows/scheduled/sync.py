"""The flow `sync`: bring a vector database to the latest state of a dataset, as a job."""

from __future__ import annotations

from prefect.client.schemas.objects import State

from flows.jobs.target import TargetConfig
from flows.scheduled.curate import carry_out
from flows.scheduled.hooks import job_flow
from flows.scheduled.job import THIS_PROCESS
from pipeline.curation.sync.settings import SyncSettings
from pipeline.jobs.steps import SyncStep


@job_flow
def sync(out: str, settings: SyncSettings, target: TargetConfig = THIS_PROCESS) -> State[None]:
    """Insert, replace and delete rows of a vector database, so that it has the latest state; only changes are sent.

    Args:
        out: the dataset; it is only read.
        settings: the database, and which rows and columns it gets: the options of `hanclip sync`. Credentials come from
            the environment of the job.
        target: where the job runs.
    """
    return carry_out(SyncStep(out=out, settings=settings), target)
