"""Stops many jobs at the same time: each stop waits for its job, and a failure does not affect the others.

In: a backend and ids. Out: the errors by id; empty when all jobs are over.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from flows.jobs.attach import with_retries
from flows.jobs.contract import JobBackend
from flows.jobs.errors import JobError
from flows.jobs.target import TargetConfig

_AT_ONCE = 32


def stop_all(
    backend: JobBackend, job_ids: Iterable[str], target: TargetConfig, retry_s: float = 0.0
) -> dict[str, JobError]:
    """Stop these jobs; each call is retried for `retry_s` while the cluster is unreachable."""

    def stop(job_id: str) -> JobError | None:
        try:
            with_retries(partial(backend.stop, job_id), target, retry_s)
        except JobError as error:
            return error
        return None

    ids = list(job_ids)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {job_id: error for job_id, error in zip(ids, pool.map(stop, ids), strict=True) if error}
