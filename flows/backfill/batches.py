"""Divides the partitions of a backfill into batches, one per job.

In: the runs to do, and the jobs that already run on the same output. Out: a batch for each running job that does the
same work, and groups of the remaining partitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from flows.jobs.attach import with_retries
from flows.jobs.contract import APP, JobBackend, JobStatus
from flows.jobs.target import TargetConfig
from pipeline import storage
from pipeline.config import RunConfig
from pipeline.errors import ConfigError, NotFoundError
from pipeline.jobs.folder import job_uri, read_job
from pipeline.jobs.job import JobRun


@dataclass(frozen=True, slots=True)
class Batch:
    """Partitions of one job. `adopted` is the id of the job if it already runs, else empty."""

    keys: tuple[str, ...]
    adopted: str = ""


def running_jobs(backend: JobBackend, target: TargetConfig, out: str) -> list[JobStatus]:
    """Jobs on this output that are not over, of any owner."""
    found = with_retries(partial(backend.find, app=APP), target)
    return [job for job in found if not job.state.over and _out(job) == storage.normalise(out)]


def batches_of(runs: Mapping[str, JobRun], running: Sequence[JobStatus], size: int) -> list[Batch]:
    """The batches: those of running jobs first, then groups of at most `size` partitions."""
    keys, found = list(runs), list[Batch]()
    for job in running:
        in_job = _runs_of(job)
        taken = tuple(key for key in keys if _alike(in_job.get(key), runs[key].config))
        if taken:
            found.append(Batch(taken, job.job_id))
            keys = [key for key in keys if key not in taken]
    return found + [Batch(tuple(keys[at : at + size])) for at in range(0, len(keys), size)]


def _runs_of(job: JobStatus) -> dict[str, RunConfig]:
    """The runs in a job's specification, by partition; empty if it cannot be read."""
    try:
        specified = read_job(job_uri(_out(job), job.job_id))
    except (NotFoundError, ConfigError):
        return {}
    return {run.key: run.config for run in specified.runs}


def _out(job: JobStatus) -> str:
    out = job.metadata.get("out")
    return storage.normalise(out) if out else ""


def _alike(found: RunConfig | None, wanted: RunConfig) -> bool:
    """Whether two runs are the same, except for the number of actors."""
    return found is not None and found.model_copy(update={"cluster": wanted.cluster}) == wanted
