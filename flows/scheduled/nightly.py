"""The flow `nightly`: new records of the scheduled day and the days before it.

Optionally it compacts the dataset, finds duplicates, filters and syncs a vector database afterwards, as steps of the
same job.
"""

from __future__ import annotations

from typing import Annotated

from prefect.client.schemas.objects import State
from pydantic import Field

from flows.jobs.target import TargetConfig
from flows.scheduled.curate import nightly_steps
from flows.scheduled.hooks import job_flow
from flows.scheduled.job import THIS_PROCESS, job_spec, run_job
from flows.scheduled.outcome import conclude
from flows.scheduled.pages.naming import DEFAULT_TIMEZONE, logical_date
from pipeline.compaction.settings import CompactSettings
from pipeline.config import RunConfig
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.filter.settings import FilterSettings
from pipeline.curation.sync.settings import SyncSettings
from pipeline.jobs.night import check, nightly_runs


@job_flow
def nightly(
    config: RunConfig,
    target: TargetConfig = THIS_PROCESS,
    lookback_days: Annotated[int, Field(ge=0)] = 7,
    timezone: str = DEFAULT_TIMEZONE,
    compact: CompactSettings | None = None,
    dedup: DedupSettings | None = None,
    filter: FilterSettings | None = None,  # noqa: A002 - named like the flow and the command
    sync: SyncSettings | None = None,
) -> State[None]:
    """Embed new and changed records once a night; then compact, find duplicates, filter and sync, if requested.

    Args:
        config: what to read, which model, and where to write. If source URIs contain {date}, each date of the look-back
            window is a separate run; otherwise the whole source is listed, and new records are read.
        target: where the job runs.
        lookback_days: how many days before the scheduled one are checked again, to make up for missed nights.
        timezone: determines the date of the scheduled time; use the schedule's.
        compact: after the runs, rewrite small files as full ones; {} for the defaults, {compact_above: 1.5} to do so
            only if there are 1.5 times as many files as necessary.
        dedup: after that, find the duplicates of the dataset, comparing only new rows; {} for the defaults.
        filter: after that, keep the rows that pass these rules. {date} in its dest is the night's date.
        sync: after that, bring a vector database to the latest state, as {to: qdrant, dest: "http://qdrant:6333"}.
            Credentials come from the environment of the job.
    """
    day = logical_date(timezone)
    runs = nightly_runs(check(config), day, lookback_days)
    steps = nightly_steps(config.output.uri, day, compact, dedup, filter, sync)
    spec = job_spec(day.isoformat(), config.output.uri, runs, steps)
    return conclude(spec, run_job(spec, target), target)
