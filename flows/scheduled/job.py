"""The task that gets a job done: submit it, or come back to the one that a dead process left, and watch it to its end.

Nothing is persisted. Whoever runs the task again, in this process or after a crash in another, derives the same job id
from the flow run's id and finds out by asking how far that job is.
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

#: A flow run that crashes is started again (see the zombie automation), but not for ever.
_MAX_STARTS = 10


def job_spec(slug: str, out: str, runs: tuple[JobRun, ...], steps: tuple[Step, ...] = ()) -> JobSpec:
    """What the flow run that is going on asks for.

    Args:
        slug: names the piece of work among those of the same flow run.
        out: the dataset that runs and steps are about.
        runs: what is embedded.
        steps: what follows.

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
    return JobSpec(job_id_base(flow, flow_run_id, slug), out, runs, metadata, steps=steps)


def check_starts() -> None:
    """Refuse a flow run that the automation against zombies starts for ever.

    Raises:
        RunError: the flow run was started so often that something else is wrong.
    """
    if flow_run.run_count > _MAX_STARTS:
        raise RunError(
            f"This flow run was started {flow_run.run_count - 1} times and its process died each time: look at the logs"
            " of the runner or worker (memory?), then run it anew. What is embedded stays."
        )


@task(name="job", task_run_name="{spec.job_id_base}", cache_policy=NO_CACHE, persist_result=False)
def run_job(spec: JobSpec, target: TargetConfig) -> JobStatus:
    """Bring `spec` to an end; a job that never began, or whose driver died silently, is followed by the next attempt.

    Prefect does not retry it: every call here has been repeated for `target.lost_after_s` before it gives up.
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
        logger.warning("Job %s came to no end; another attempt goes on. %s", status.job_id, status.message)


def _log_lines(text: str) -> None:
    if text.strip():
        get_run_logger().info("%s", text.rstrip())
