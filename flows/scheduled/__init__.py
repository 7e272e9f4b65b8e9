"""When: the Prefect flows. Thin on purpose: the work is in `flows.jobs` and in the driver that a job runs.

    embed      one run, now
    nightly    what is new, for the day that the schedule stands for and the days before it
    backfill   many partitions, a few at a time
    dedup      the duplicates of a dataset
    filter     the rows of a dataset that pass every rule
    reap       stops jobs whose flow run is over or gone

Prefect is imported here and nowhere else, so the command line starts without it.
"""

from flows.scheduled.backfill import backfill
from flows.scheduled.dedup import dedup
from flows.scheduled.embed import embed
from flows.scheduled.filter import filter  # noqa: A004 - flow and command have one name
from flows.scheduled.nightly import nightly
from flows.scheduled.reap import reap

__all__ = ["backfill", "dedup", "embed", "filter", "nightly", "reap"]
