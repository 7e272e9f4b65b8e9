"""Stop many jobs at once: a stop waits for the job's end, and one that cannot be stopped keeps no other from its stop.

In: a backend and ids. Out: what went wrong, by id; empty when all are over.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from flows.jobs.attach import patiently
from flows.jobs.contract import JobBackend
from flows.jobs.errors import JobError
from flows.jobs.target import TargetConfig

_AT_ONCE = 32


def stop_all(
    backend: JobBackend, job_ids: Iterable[str], target: TargetConfig, patience_s: float = 0.0
) -> dict[str, JobError]:
    """Stop these jobs, each asked again for `patience_s` while nobody answers."""

    def stop(job_id: str) -> JobError | None:
        try:
            patiently(partial(backend.stop, job_id), target, patience_s)
        except JobError as error:
            return error
        return None

    ids = list(job_ids)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {job_id: error for job_id, error in zip(ids, pool.map(stop, ids), strict=True) if error}
