"""The flow `filter`: keep the rows of a dataset that pass every rule, as a job."""

from __future__ import annotations

from prefect.client.schemas.objects import State

from flows.jobs.target import TargetConfig
from flows.scheduled.curate import carry_out
from flows.scheduled.hooks import job_flow
from flows.scheduled.job import THIS_PROCESS
from pipeline.curation.filter.settings import FilterSettings
from pipeline.jobs.steps import FilterStep


@job_flow
def filter(  # noqa: A001 - flow and command have one name
    out: str, settings: FilterSettings, target: TargetConfig = THIS_PROCESS
) -> State[None]:
    """Keep the rows that pass every rule; record for each other row which rule dropped it.

    Args:
        out: the dataset; rules may use its columns, and those of its tables of duplicates, labels and similarities.
        settings: the rules, and what to write of the kept rows: the options of `hanclip filter`.
        target: where the job runs.
    """
    return carry_out(FilterStep(out=out, settings=settings), target)
