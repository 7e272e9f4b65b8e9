"""The flow `reap`: starts flow runs again whose process is gone, and stops jobs whose flow run has ended or is gone.

The former is the only place where a flow run is revived (`flows.scheduled.revival`). The latter covers hooks that never
ran: a runner killed with its flow, a cancellation while the cluster was unreachable, a deleted flow run. Jobs submitted
by hand have no flow run and are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Failed
from pydantic import Field

from flows.jobs.backends import make_backend
from flows.jobs.contract import APP, JobStatus
from flows.jobs.errors import JobError
from flows.jobs.stopping import stop_all
from flows.jobs.target import TargetConfig
from flows.scheduled.hooks import show_unreported
from flows.scheduled.job import THIS_PROCESS
from flows.scheduled.outcome import reported
from flows.scheduled.pages.naming import run_name
from flows.scheduled.revival.policy import RevivalPolicy
from flows.scheduled.revival.signs import server_time
from flows.scheduled.revival.step import ReapStep, revive
from flows.terminal import figures
from pipeline import __version__, units

DEFAULT_POLICY = RevivalPolicy()


@flow(version=__version__, flow_run_name=run_name, on_failure=[show_unreported], on_crashed=[show_unreported])
@reported
def reap(
    target: TargetConfig = THIS_PROCESS,
    grace_s: Annotated[float, Field(ge=0)] = 600.0,
    dry_run: bool = False,
    revival: RevivalPolicy = DEFAULT_POLICY,
) -> State[None]:
    """Start flow runs again whose process is gone; stop jobs whose flow run has ended or is gone.

    Use one Prefect server per Ray cluster: a flow run of another server looks as if it was gone.

    Args:
        target: where the jobs run.
        grace_s: how long ago a flow run must have ended; a crashed one may be rescheduled and needs its job.
        dry_run: show what would be done, and do nothing.
        revival: when a flow run counts as dead, and how often it is started again.
    """
    revived = revive(revival, dry_run)
    stopped = _stop_orphans(target, grace_s, dry_run)
    message = "; ".join(filter(None, (revived.done, stopped.done)))
    problems = " ".join(filter(None, (revived.problem, stopped.problem)))
    return Failed(message=f"{message}, but: {problems}") if problems else Completed(message=message)


def _stop_orphans(target: TargetConfig, grace_s: float, dry_run: bool) -> ReapStep:
    backend, logger = make_backend(target), get_run_logger()
    alive = [job for job in backend.find(app=APP) if not job.state.over]
    with get_client(sync_client=True) as client:
        now = server_time(client)
        found = [(job, reason(client, job, grace_s, now)) for job in alive]
    orphans = {job.job_id: why for job, why in found if why}
    for job_id, why in {} if dry_run else orphans.items():
        logger.info("Stopping job %s: %s", job_id, why)
    failed = {} if dry_run else stop_all(backend, orphans, target)
    _table(found, dry_run, failed)
    problem = f"{units.count(len(failed), 'job')} not stopped: {next(iter(failed.values()))}" if failed else ""
    done = f"{units.count(len(found), 'job')} alive, {len(orphans) - len(failed)} {'to stop' if dry_run else 'stopped'}"
    return ReapStep(done, problem)


def reason(client: SyncPrefectClient, job: JobStatus, grace_s: float, now: datetime) -> str:
    """Why a job should be stopped at `now`, the server's time; empty if it should not."""
    owner = job.metadata.get("flow_run_id")
    if not owner:
        return ""
    try:
        flow_run_id = UUID(owner)
    except ValueError:
        return ""  # not an id of Prefect's, so another program's job
    try:
        state = client.read_flow_run(flow_run_id).state
    except ObjectNotFound:
        return "its flow run is gone" if _age_s(job.started_at, now) >= grace_s else ""
    if state is None or not state.is_final() or _age_s(state.timestamp, now) < grace_s:
        return ""
    return f"its flow run has been {state.name} for {figures.duration(_age_s(state.timestamp, now))}"


def _age_s(moment: datetime | None, now: datetime) -> float:
    return (now - moment).total_seconds() if moment else 0.0


def _table(found: list[tuple[JobStatus, str]], dry_run: bool, failed: Mapping[str, JobError]) -> None:
    def action(job_id: str, why: str) -> str:
        if error := failed.get(job_id):
            return f"not stopped: {error}"
        return "left alone" if not why else "would stop" if dry_run else "stopped"

    table = [
        {
            "job": job.job_id,
            "state": str(job.state),
            "flow run": job.metadata.get("flow_run_id", "none: submitted by hand"),
            "what": action(job.job_id, why),
            "why": why or "its flow run has not ended, or not long enough ago",
        }
        for job, why in found
    ]
    create_table_artifact(table, key="reap-jobs", description=f"Unfinished jobs of hanclip: {len(table)}")
