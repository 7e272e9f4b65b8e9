"""The task that runs a job: submit it, or reattach to it after a crash, and follow it to its end.

Nothing is persisted. A repeated task, in this process or in another after a crash, derives the same job id from the
flow run's id and asks the backend for the job's state.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from itertools import groupby
from logging import INFO, getLevelNamesMapping
from typing import cast

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.facts.flow_run import FlowRunSummary
from flows.facts.progress import describe, fraction
from flows.jobs.attach import ensure, watch, with_retries
from flows.jobs.backends import make_backend
from flows.jobs.contract import APP, JobSpec, JobState, JobStatus
from flows.jobs.ids import attempt_of, job_id_base
from flows.jobs.target import TargetConfig
from flows.scheduled.outcome import started, with_job
from flows.scheduled.pages.stall import StallWatch, send_stalled
from flows.scheduled.pages.summary import SummaryPage
from flows.terminal import figures
from pipeline.jobs.folder import read_summary
from pipeline.jobs.job import JobProgress, JobRun
from pipeline.jobs.steps import Step

THIS_PROCESS = TargetConfig()
_LEVEL = re.compile(r"\S+ \S+ (WARNING|ERROR|CRITICAL) ")


def job_spec(slug: str, out: str, runs: tuple[JobRun, ...], steps: tuple[Step, ...] = ()) -> JobSpec:
    """The job that the current flow run requests.

    Args:
        slug: tells the jobs of one flow run apart.
        out: the dataset of the runs and steps.
        runs: what to embed.
        steps: what to do after the runs.
    """
    flow, flow_run_id = str(flow_run.flow_name), str(flow_run.id)
    metadata = {
        "app": APP,
        "flow_run_id": flow_run_id,
        "flow": flow,
        "out": out,
        "keys": ",".join(run.key for run in runs if run.key),
    }
    return JobSpec(job_id_base(flow, flow_run_id, slug), out, runs, metadata, steps=steps, needs_evidence=True)


def run_job(spec: JobSpec, target: TargetConfig) -> JobStatus:
    """Run the job to its end as a task, which fails on the flow run's page if the job fails."""
    ended: object = _job(spec, target, return_state=True).result(raise_on_failure=False)
    if isinstance(ended, BaseException):
        raise ended
    return cast(JobStatus, ended)


@task(name="job", task_run_name="{spec.job_id_base}", cache_policy=NO_CACHE, persist_result=False)
def _job(spec: JobSpec, target: TargetConfig) -> State[JobStatus]:
    # It needs no retries of Prefect's, because every call in it is retried for `target.lost_after_s`.
    status = _follow(spec, target)
    make = Completed if status.state is JobState.SUCCEEDED else Failed
    return make(message=f"Job {status.job_id} is {status.state}", data=status)


def _follow(spec: JobSpec, target: TargetConfig) -> JobStatus:
    """Run the job to its end; one that never started, or whose driver died silently, gets another attempt."""
    backend, page, logger = make_backend(target), SummaryPage.here(), get_run_logger()
    shown = page.held or started(spec.metadata["flow"], flow_run.parameters)
    tried = 0
    while True:
        status = ensure(backend, spec, target, tried)
        logger.info("Job %s is %s%s", status.job_id, status.state, f": {status.url}" if status.url else "")
        shown = with_job(shown, status, target)
        page.show(replace(shown, progress=f"job {status.state}"))
        if status.state.over:
            return status
        show = partial(_show_progress, page, shown, StallWatch(send_stalled))
        status = watch(backend, status.job_id, spec.out, target, _log_lines, show)
        tried = attempt_of(status.job_id)
        if status.state is not JobState.FAILED or status.timed_out or tried >= target.max_attempts:
            return status
        if with_retries(partial(read_summary, spec.out, status.job_id), target) is not None:
            return status
        logger.warning("Job %s ended without a summary; starting another attempt. %s", status.job_id, status.message)


def _show_progress(page: SummaryPage, shown: FlowRunSummary, stall: StallWatch, progress: JobProgress) -> None:
    words = f"{figures.share(fraction(progress))}: {describe(progress)}"
    page.update(replace(shown, progress=words, reason=stall.see(progress)))


def _log_lines(text: str) -> None:
    """Log text of the driver; its errors stay errors, so that the page's filter finds them."""
    for level, lines in groupby(text.rstrip().splitlines(), key=_level):
        get_run_logger().log(level, "%s", "\n".join(lines))


def _level(line: str) -> int:
    found = _LEVEL.match(line)
    return getLevelNamesMapping()[found[1]] if found else INFO
