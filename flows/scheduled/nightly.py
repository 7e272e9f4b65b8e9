"""The flow `nightly`: what is new in the source, for the day that the schedule stands for and the days before it.

After it, if wanted, the duplicates of the whole dataset and a filter, as steps of the same job.
"""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.jobs.target import TargetConfig
from flows.scheduled.curate import nightly_steps
from flows.scheduled.hooks import stop_jobs
from flows.scheduled.job import THIS_PROCESS, job_spec, run_job
from flows.scheduled.naming import DEFAULT_TIMEZONE, logical_date, run_name
from flows.scheduled.outcome import conclude
from flows.scheduled.pages import artifacts
from pipeline.config import RunConfig
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.filter.settings import FilterSettings
from pipeline.jobs.night import check, nightly_runs


@flow(flow_run_name=run_name, on_cancellation=[stop_jobs], on_failure=[stop_jobs])
def nightly(
    config: RunConfig,
    target: TargetConfig = THIS_PROCESS,
    lookback_days: Annotated[int, Field(ge=0)] = 7,
    timezone: str = DEFAULT_TIMEZONE,
    dedup: DedupSettings | None = None,
    filter: FilterSettings | None = None,  # noqa: A002 - called like the flow and the command
) -> State[None]:
    """Embed what is new or changed, once a night; then look for duplicates and filter, if asked to.

    Args:
        config: what to read, which model, and where to write. Where a source address holds {date}, every date of the
            look-back window is a run of its own; otherwise the whole source is listed, and what is new is read.
        target: where the job runs.
        lookback_days: how many days before the scheduled one are looked at again, which heals nights that were missed.
        timezone: in which the scheduled time is a date; the same as the schedule's.
        dedup: after the runs, find the duplicates of the dataset, comparing new rows only; {} for the defaults.
        filter: after that, keep the rows that pass these rules. {date} in its dest is the night's date.
    """
    day = logical_date(timezone)
    runs = nightly_runs(check(config), day, lookback_days)
    steps = nightly_steps(config.output.uri, day, dedup, filter)
    artifacts.plan_table("nightly", runs, steps)
    spec = job_spec(day.isoformat(), config.output.uri, runs, steps)
    return conclude(spec, run_job(spec, target), target)
