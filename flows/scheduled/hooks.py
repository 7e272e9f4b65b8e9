"""What happens to jobs when their flow run is cancelled or fails: they are stopped.

Prefect calls a hook in whichever process is left, with the flow run's stored parameters and nothing more; so the jobs
are found by their metadata. A crash has no hook: the job goes on, and the rescheduled flow run comes back to it.
"""

from __future__ import annotations

from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger

from flows.jobs.contract import APP
from flows.jobs.target import TargetConfig, make_backend
from pipeline.errors import HanclipError


def stop_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Stop every job of `flow_run` that is not over. What cannot be reached now, `reap` stops later."""
    logger = flow_run_logger(flow_run, flow)
    backend = make_backend(TargetConfig.model_validate(flow_run.parameters.get("target") or {}))
    try:
        for job in backend.find(app=APP, flow_run_id=str(flow_run.id)):
            if not job.state.over:
                backend.stop(job.job_id)
                logger.info("Stopped job %s, as the flow run is %s", job.job_id, state.name)
    except HanclipError as error:
        logger.error("Jobs of this flow run may still run: %s. The flow reap stops them.", error)  # noqa: TRY400
