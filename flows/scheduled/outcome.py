"""Ends a flow run after its job: the report as an artifact, the verdict as the flow run's state."""

from __future__ import annotations

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.jobs.contract import JobSpec, JobStatus
from flows.jobs.target import TargetConfig
from flows.scheduled.pages.artifacts import report_page
from flows.scheduled.pages.report import report, retry_helps, succeeded, verdict
from pipeline.jobs.folder import read_summary
from pipeline.jobs.job import JobSummary


def conclude(spec: JobSpec, status: JobStatus, target: TargetConfig) -> State[None]:
    """Write the report; return Completed, or Failed with what to do."""
    flow, summary = spec.metadata["flow"], read_summary(spec.out, status.job_id)
    if summary is None:
        return Failed(message=f"Job {status.job_id} is {status.state} and left no summary: {status.message}")
    report_page(flow, report(str(flow_run.name), summary, spec.runs, status.url, target, spec.steps))
    return _state(summary, status, target)


def _state(summary: JobSummary, status: JobStatus, target: TargetConfig) -> State[None]:
    message = verdict(summary)
    if status.timed_out:
        return Failed(message=status.message)
    if succeeded(summary):
        return Completed(message=message)
    if summary.state == "stopped":
        way = "Retry this flow run" if retry_helps(summary, target) else "Run the deployment again"
        return Failed(message=f"The job was stopped: {message}. {way} to continue from there.")
    return Failed(message=message)
