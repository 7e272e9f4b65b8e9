"""Makes flows whose jobs are stopped when a run is cancelled or fails, and whose page then shows how it ended.

Prefect may call a hook in another process, with only the flow run's stored parameters, so the jobs are found by their
metadata. A crash calls no hook: the job keeps running, and the rescheduled flow run reattaches to it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec

import prefect
from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger
from pydantic import ValidationError

from flows.jobs.attach import with_retries
from flows.jobs.backends import make_backend
from flows.jobs.contract import APP
from flows.jobs.stopping import stop_all
from flows.jobs.target import TargetConfig
from flows.scheduled.outcome import reported, show_end
from flows.scheduled.pages.naming import run_name
from pipeline import __version__
from pipeline.errors import HanclipError

P = ParamSpec("P")

#: A hook delays the cancellation, so it retries an unreachable dashboard for less time than a flow does.
_PATIENCE_S = 120.0


def stop_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Stop all unfinished jobs of `flow_run`, concurrently. The flow `reap` stops those that cannot be reached now."""
    logger = flow_run_logger(flow_run, flow)
    try:
        target = TargetConfig.model_validate(flow_run.parameters.get("target") or {})
    except ValidationError:
        show_end(flow.name, flow_run, state)  # the flow refused it as well, so there is no job
        return
    try:
        backend = make_backend(target)
        found = with_retries(partial(backend.find, app=APP, flow_run_id=str(flow_run.id)), target, _PATIENCE_S)
    except HanclipError as error:
        logger.error("Jobs of this flow run may still be running: %s. The flow reap stops them.", error)  # noqa: TRY400
        show_end(flow.name, flow_run, state, f"Its jobs may still be running; reap stops them: {error}")
        return
    alive = [job.job_id for job in found if not job.state.over]
    failed = stop_all(backend, alive, target, _PATIENCE_S)
    for job_id in alive:
        if why := failed.get(job_id):
            logger.error("Job %s may still be running: %s. The flow reap stops it.", job_id, why)
        else:
            logger.info("Stopped job %s because the flow run is %s", job_id, state.name)
    note = f"Jobs that may still be running, until reap stops them: {', '.join(failed)}." if failed else ""
    show_end(flow.name, flow_run, state, note)


def show_unreported(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Show on its page how a run ended that could not do so itself; its jobs, if it has any, continue."""
    show_end(flow.name, flow_run, state)


def job_flow(body: Callable[P, State[None]]) -> Flow[P, State[None]]:
    """Make a flow of a function that submits jobs.

    Its version is hanclip's. Prefect's default is a hash of the function's file, which is that of `reported` for all.
    """
    make = prefect.flow(
        version=__version__,
        flow_run_name=run_name,
        on_cancellation=[stop_jobs],
        on_failure=[stop_jobs],
        on_crashed=[show_unreported],
    )
    return make(reported(body))
