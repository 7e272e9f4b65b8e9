"""The flow `reap`: stops jobs whose flow run is over or gone.

It covers the hooks that never ran: a runner killed with its flow, a cancellation while the cluster was away, a flow run
that was deleted. Jobs that were submitted by hand belong to nobody and are left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed
from pydantic import Field

from flows import figures
from flows.jobs.contract import APP, JobStatus
from flows.jobs.target import TargetConfig, make_backend
from flows.scheduled.job import THIS_PROCESS
from flows.scheduled.naming import run_name


@flow(flow_run_name=run_name)
def reap(
    target: TargetConfig = THIS_PROCESS,
    grace_s: Annotated[float, Field(ge=0)] = 600.0,
    dry_run: bool = False,
) -> State[None]:
    """Stop jobs whose flow run is over or gone.

    One Prefect server to a Ray cluster: a flow run of another server looks like one that is gone.

    Args:
        target: where the jobs run.
        grace_s: how long a flow run has to be over; a crashed one may be rescheduled in that time and wants its job.
        dry_run: show what would be stopped, and stop nothing.
    """
    backend, logger = make_backend(target), get_run_logger()
    alive = [job for job in backend.find(app=APP) if not job.state.over]
    with get_client(sync_client=True) as client:
        found = [(job, _why(client, job, grace_s)) for job in alive]
    for job, why in found:
        if why and not dry_run:
            logger.info("Stopping job %s: %s", job.job_id, why)
            backend.stop(job.job_id)
    _table(found, dry_run)
    stopped = sum(bool(why) for _, why in found)
    return Completed(message=f"{len(found)} jobs alive, {stopped} {'to stop' if dry_run else 'stopped'}")


def _why(client: SyncPrefectClient, job: JobStatus, grace_s: float) -> str:
    """Why a job has to go; empty when it may stay."""
    owner = job.metadata.get("flow_run_id")
    if not owner:
        return ""
    try:
        state = client.read_flow_run(UUID(owner)).state
    except ObjectNotFound:
        return "its flow run is gone" if _age_s(job.started_at) >= grace_s else ""
    if state is None or not state.is_final() or _age_s(state.timestamp) < grace_s:
        return ""
    return f"its flow run is {state.name} since {figures.duration(_age_s(state.timestamp))}"


def _age_s(moment: datetime | None) -> float:
    return (datetime.now(UTC) - moment).total_seconds() if moment else 0.0


def _table(found: list[tuple[JobStatus, str]], dry_run: bool) -> None:
    deed: Callable[[str], str] = lambda why: "left alone" if not why else "would stop" if dry_run else "stopped"  # noqa: E731
    table = [
        {
            "job": job.job_id,
            "state": str(job.state),
            "flow run": job.metadata.get("flow_run_id", "none: submitted by hand"),
            "what": deed(why),
            "why": why or "its flow run is not over, or not for long enough",
        }
        for job, why in found
    ]
    create_table_artifact(table, key="reap-jobs", description=f"Jobs of hanclip that are not over: {len(table)}")
