"""How a job's driver is started: its `job.json`, its command and its environment."""

from __future__ import annotations

import shlex
from typing import Any

from flows.jobs.contract import JobSpec


def write(job_id: str, spec: JobSpec) -> str:
    """Write the `job.json` of a job, and give its address."""
    from pipeline.jobs.folder import job_of, write_job

    return write_job(spec.out, job_id, job_of(spec.runs, spec.steps))


def entrypoint(python: str, job_json: str) -> str:
    """The shell command that Ray runs as the job's driver."""
    return shlex.join([python, "-m", "actors.driver", job_json])


def runtime_env(stop_wait_s: float) -> dict[str, Any]:
    """What the driver's environment gets on top of the cluster's. Anybody who may list jobs can read it: no secrets."""
    return {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(round(stop_wait_s))}}
