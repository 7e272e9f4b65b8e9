"""The flow `nightly`: what is new in the source, for the day that the schedule stands for and the days before it."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.jobs.target import TargetConfig
from flows.scheduled import artifacts
from flows.scheduled.hooks import stop_jobs
from flows.scheduled.job import THIS_PROCESS, job_spec, run_job
from flows.scheduled.naming import DEFAULT_TIMEZONE, logical_date, run_name
from flows.scheduled.outcome import conclude
from flows.scheduled.window import check, nightly_runs
from pipeline.config import RunConfig


@flow(flow_run_name=run_name, on_cancellation=[stop_jobs], on_failure=[stop_jobs])
def nightly(
    config: RunConfig,
    target: TargetConfig = THIS_PROCESS,
    lookback_days: Annotated[int, Field(ge=0)] = 7,
    timezone: str = DEFAULT_TIMEZONE,
) -> State[None]:
    """Embed what is new or changed, once a night.

    Args:
        config: what to read, which model, and where to write. Where a source address holds {date}, every date of the
            look-back window is a run of its own; otherwise the whole source is listed, and what is new is read.
        target: where the job runs.
        lookback_days: how many days before the scheduled one are looked at again, which heals nights that were missed.
        timezone: in which the scheduled time is a date; the same as the schedule's.
    """
    day = logical_date(timezone)
    runs = nightly_runs(check(config), day, lookback_days)
    artifacts.plan_table("nightly", runs)
    spec = job_spec(day.isoformat(), runs)
    return conclude(spec, run_job(spec, target), target)
