"""The task that gets a job done: submit it, or come back to the one that a dead process left, and watch it to its end.

Nothing is persisted. Whoever runs the task again, in this process or after a crash in another, derives the same job id
from the flow run's id and finds out by asking how far that job is.
"""

from __future__ import annotations

from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.tasks import Task

from flows.jobs.attach import ensure, watch
from flows.jobs.contract import APP, JobSpec, JobState, JobStatus
from flows.jobs.errors import TransientJobError
from flows.jobs.ids import job_id_base
from flows.jobs.target import TargetConfig, make_backend
from flows.scheduled.artifacts import LiveProgress, job_link
from pipeline.errors import RunError, UnavailableError
from pipeline.job_folder import JobRun, read_summary

THIS_PROCESS = TargetConfig()

#: A flow run that crashes is started again (see the zombie automation), but not for ever.
_MAX_STARTS = 10


def job_spec(slug: str, runs: tuple[JobRun, ...]) -> JobSpec:
    """What the flow run that is going on asks for; `slug` names the piece of work among those of the same flow run.

    Raises:
        RunError: the flow run was started so often that something else is wrong.
    """
    if flow_run.run_count > _MAX_STARTS:
        raise RunError(
            f"This flow run was started {flow_run.run_count - 1} times and its process died each time: look at the logs"
            " of the runner or worker (memory?), then run it anew. What is embedded stays."
        )
    flow, flow_run_id, out = str(flow_run.flow_name), str(flow_run.id), runs[0].config.output.uri
    metadata = {
        "app": APP,
        "flow_run_id": flow_run_id,
        "flow": flow,
        "out": out,
        "keys": ",".join(run.key for run in runs if run.key),
    }
    return JobSpec(job_id_base(flow, flow_run_id, slug), out, runs, metadata)


def _may_pass(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), (TransientJobError, UnavailableError))


@task(
    name="job",
    task_run_name="{spec.job_id_base}",
    retries=5,
    retry_delay_seconds=[2, 5, 15, 30, 60],
    retry_jitter_factor=0.3,
    retry_condition_fn=_may_pass,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def run_job(spec: JobSpec, target: TargetConfig) -> JobStatus:
    """Bring `spec` to an end; a job whose driver died without a word is followed by the next attempt."""
    backend, flow, logger = make_backend(target), spec.metadata["flow"], get_run_logger()
    while True:
        status = ensure(backend, spec, target)
        logger.info("Job %s is %s%s", status.job_id, status.state, f": {status.url}" if status.url else "")
        job_link(flow, status)
        if status.state.over:
            return status
        bar = LiveProgress(flow)
        status = watch(backend, status.job_id, spec.out, target, _log_lines, bar.update)
        if status.state is JobState.SUCCEEDED:
            bar.finish()
        if status.state is not JobState.FAILED or read_summary(spec.out, status.job_id) is not None:
            return status
        logger.warning("The driver of job %s died; another attempt goes on. %s", status.job_id, status.message)


def _log_lines(text: str) -> None:
    if text.strip():
        get_run_logger().info("%s", text.rstrip())
