"""What starts a job's driver: its `job.json`, its command line and its environment."""

from __future__ import annotations

import shlex
from typing import Any

from flows.jobs.contract import JobSpec
from pipeline.jobs.folder import write_job
from pipeline.jobs.job import job_of


def write(job_id: str, spec: JobSpec) -> str:
    """Write the `job.json` of a job; returns its URI."""
    return write_job(spec.out, job_id, job_of(spec.runs, spec.steps, spec.needs_evidence, spec.timeout_s))


def entrypoint(python: str, job_json: str) -> str:
    """The shell command that Ray runs as the job's driver."""
    return shlex.join([python, "-m", "actors.driver", job_json])


def runtime_env(stop_wait_s: float) -> dict[str, Any]:
    """What is added to the cluster's environment. Everybody who may list jobs can read it, so it holds no secrets."""
    return {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(round(stop_wait_s))}}
