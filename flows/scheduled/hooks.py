"""What happens to jobs when their flow run is cancelled or fails: they are stopped.

Prefect calls a hook in whichever process is left, with the flow run's stored parameters and nothing more; so the jobs
are found by their metadata. A crash has no hook: the job goes on, and the rescheduled flow run comes back to it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger

from flows.jobs.attach import with_retries
from flows.jobs.backends import make_backend
from flows.jobs.contract import APP
from flows.jobs.stopping import stop_all
from flows.jobs.target import TargetConfig
from pipeline.errors import HanclipError

#: A hook holds up whoever cancels: it bears an absent dashboard for less long than a flow does.
_PATIENCE_S = 120.0


def stop_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Stop every job of `flow_run` that is not over, all at once. What cannot be reached now, `reap` stops later."""
    logger = flow_run_logger(flow_run, flow)
    target = TargetConfig.model_validate(flow_run.parameters.get("target") or {})
    backend = make_backend(target)
    try:
        found = with_retries(partial(backend.find, app=APP, flow_run_id=str(flow_run.id)), target, _PATIENCE_S)
    except HanclipError as error:
        logger.error("Jobs of this flow run may still run: %s. The flow reap stops them.", error)  # noqa: TRY400
        return
    alive = [job.job_id for job in found if not job.state.over]
    failed = stop_all(backend, alive, target, _PATIENCE_S)
    for job_id in alive:
        if why := failed.get(job_id):
            logger.error("Job %s may still run: %s. The flow reap stops it.", job_id, why)
        else:
            logger.info("Stopped job %s, as the flow run is %s", job_id, state.name)
