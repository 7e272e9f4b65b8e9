"""The task that runs a job: submit it, or reattach to it after a crash, and follow it to its end.

Nothing is persisted. A repeated task, in this process or in another after a crash, derives the same job id from the
flow run's id and asks the backend for the job's state.
"""

from __future__ import annotations

from functools import partial

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows.jobs.attach import ensure, watch, with_retries
from flows.jobs.backends import make_backend
from flows.jobs.contract import APP, JobSpec, JobState, JobStatus
from flows.jobs.ids import attempt_of, job_id_base
from flows.jobs.target import TargetConfig
from flows.scheduled.pages.artifacts import LiveProgress, job_link
from pipeline.errors import RunError
from pipeline.jobs.folder import read_summary
from pipeline.jobs.job import JobRun
from pipeline.jobs.steps import Step

THIS_PROCESS = TargetConfig()

#: The zombie automation restarts a flow run that crashed, but not indefinitely.
_MAX_STARTS = 10


def job_spec(slug: str, out: str, runs: tuple[JobRun, ...], steps: tuple[Step, ...] = ()) -> JobSpec:
    """The job that the current flow run requests.

    Args:
        slug: tells the jobs of one flow run apart.
        out: the dataset of the runs and steps.
        runs: what to embed.
        steps: what to do after the runs.

    Raises:
        RunError: see `check_starts`.
    """
    check_starts()
    flow, flow_run_id = str(flow_run.flow_name), str(flow_run.id)
    metadata = {
        "app": APP,
        "flow_run_id": flow_run_id,
        "flow": flow,
        "out": out,
        "keys": ",".join(run.key for run in runs if run.key),
    }
    return JobSpec(job_id_base(flow, flow_run_id, slug), out, runs, metadata, steps=steps, needs_evidence=True)


def check_starts() -> None:
    """Refuse a flow run that the zombie automation restarts without end.

    Raises:
        RunError: the flow run was restarted too often.
    """
    if flow_run.run_count > _MAX_STARTS:
        raise RunError(
            f"This flow run was started {flow_run.run_count - 1} times and its process died each time: check the logs"
            " of the runner or worker (out of memory?), then run the deployment again. Embedded records are kept."
        )


@task(name="job", task_run_name="{spec.job_id_base}", cache_policy=NO_CACHE, persist_result=False)
def run_job(spec: JobSpec, target: TargetConfig) -> JobStatus:
    """Run the job to its end; one that never started, or whose driver died silently, gets another attempt.

    It needs no retries of Prefect's, because every call in it is retried for `target.lost_after_s`.
    """
    backend, flow, logger = make_backend(target), spec.metadata["flow"], get_run_logger()
    tried = 0
    while True:
        status = ensure(backend, spec, target, tried)
        logger.info("Job %s is %s%s", status.job_id, status.state, f": {status.url}" if status.url else "")
        job_link(flow, status)
        if status.state.over:
            return status
        bar = LiveProgress(flow)
        status = watch(backend, status.job_id, spec.out, target, _log_lines, bar.update)
        if status.state is JobState.SUCCEEDED:
            bar.finish()
        tried = attempt_of(status.job_id)
        if status.state is not JobState.FAILED or status.timed_out or tried >= target.max_attempts:
            return status
        if with_retries(partial(read_summary, spec.out, status.job_id), target) is not None:
            return status
        logger.warning("Job %s ended without a summary; starting another attempt. %s", status.job_id, status.message)


def _log_lines(text: str) -> None:
    if text.strip():
        get_run_logger().info("%s", text.rstrip())
