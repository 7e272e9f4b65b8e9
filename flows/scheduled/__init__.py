"""The Prefect flows. They submit and follow jobs through `flows.jobs`; the work is done by the job's driver.

    embed      one run, now
    nightly    new records of the scheduled day and the days before it
    backfill   many partitions, a few at a time
    compact    full files in place of the small ones of a dataset
    dedup      the duplicates of a dataset
    filter     the rows of a dataset that pass every rule
    reap       starts flow runs again whose process is gone; stops jobs whose flow run has ended or is gone

The command line imports none of this, so it starts without Prefect.
"""

from flows.scheduled.backfill import backfill
from flows.scheduled.compact import compact
from flows.scheduled.dedup import dedup
from flows.scheduled.embed import embed
from flows.scheduled.filter import filter  # noqa: A004 - flow and command have one name
from flows.scheduled.nightly import nightly
from flows.scheduled.reap import reap

__all__ = ["backfill", "compact", "dedup", "embed", "filter", "nightly", "reap"]
