"""Ends a flow run: its summary on its page, and a state with the same message.

A flow's function runs inside `reported`, which writes the summary at the start and after an error. `conclude` ends it
after its job. `show_end` completes the summary of a run that could not do so itself.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, get_type_hints

from prefect import get_run_logger
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import ValidationError

from flows.facts.flow_run import FlowOutcome, FlowRunSummary
from flows.facts.job import job_ended, job_vanished
from flows.jobs.contract import JobSpec, JobState, JobStatus
from flows.jobs.errors import TransientJobError
from flows.jobs.target import TargetConfig
from flows.options.shell import jobs_command
from flows.scheduled.pages.artifacts import report_page
from flows.scheduled.pages.report import report
from flows.scheduled.pages.summary import SummaryPage, plain
from flows.terminal.marked import Facts
from pipeline import storage
from pipeline.config import RunConfig
from pipeline.errors import HanclipError
from pipeline.jobs.folder import read_summary

P = ParamSpec("P")
logger = logging.getLogger(__name__)

#: How Prefect begins the message of a state that an exception made.
_PREFIX = re.compile(r"^(Flow run encountered an exception|Flow run failed due to [^:]*): (\w+: )?")
_NO_JOB = "unchanged: no job was started"


def reported(body: Callable[P, State[None]]) -> Callable[P, State[None]]:
    """Let the body of a flow show a summary from its start on, and fail in plain words instead of a traceback."""

    @wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> State[None]:
        page = SummaryPage.here()
        page.show(started(str(flow_run.flow_name), flow_run.parameters))
        try:
            return _shown(body(*args, **kwargs))
        except HanclipError as error:
            logger.debug("The flow run failed.", exc_info=error)
            base = SummaryPage.here().held or started(str(flow_run.flow_name), flow_run.parameters)
            return end(failed(base, str(error), unclear=isinstance(error, TransientJobError)))

    # Prefect resolves annotations where it finds the function, and these belong to the module of the body.
    run.__annotations__ = get_type_hints(body, include_extras=True)
    run.__signature__ = inspect.signature(body, eval_str=True)  # type: ignore[attr-defined]
    return run


def _shown(state: State[None]) -> State[None]:
    """`state`, after its message is on the page; a body with more to show has called `end`."""
    page = SummaryPage.here()
    if page.held is not None and page.held.outcome is FlowOutcome.RUNNING:
        page.show(by_state(page.held, state))
    return state


def by_state(base: FlowRunSummary, state: State[None]) -> FlowRunSummary:
    """`base` with an end of which only the state is known."""
    message = state.message or ""
    if state.is_completed():
        return replace(base, outcome=FlowOutcome.COMPLETE, details=message, next_step="Nothing.")
    wait = "Nothing at first: the next scheduled run tries again. If it fails as well, remove the cause."
    return replace(base, outcome=FlowOutcome.FAILED, reason=message, next_step=wait)


def started(flow: str, parameters: Mapping[str, Any]) -> FlowRunSummary:
    """The summary of a flow run that starts; invalid parameters give a shorter one."""
    source, out = "", parameters.get("out")
    try:
        config = RunConfig.model_validate(parameters["config"])
        source, out = ", ".join(map(storage.printable, config.source.uris)), config.output.uri
    except (KeyError, ValidationError, HanclipError):
        pass
    return FlowRunSummary(
        flow,
        FlowOutcome.RUNNING,
        next_step="Nothing. *Cancel* on the flow run stops it; committed rows stay.",
        source=source,
        out=storage.printable(out) if isinstance(out, str) else "",
    )


def with_job(base: FlowRunSummary, status: JobStatus, target: TargetConfig) -> FlowRunSummary:
    """`base` with the job that does its work now."""
    log = "" if target.backend == "local" else jobs_command("logs", target, status.job_id)
    return replace(base, job_id=status.job_id, job_url=status.url or "", job_log=log)


def end(summary: FlowRunSummary, extra: Facts | None = None) -> State[None]:
    """Show how the current flow run ended, with `extra` facts; return its state."""
    SummaryPage.here().show(summary, extra)
    # The log is the first tab of a run's page.
    log = get_run_logger()
    (log.info if summary.outcome.succeeded else log.error)("%s", plain(summary))
    make = Completed if summary.outcome.succeeded else Failed
    return make(message=summary.message)


def conclude(spec: JobSpec, status: JobStatus, target: TargetConfig) -> State[None]:
    """Write the report and the summary; return Completed, or Failed with what to do."""
    base = SummaryPage.here().held or started(spec.metadata["flow"], flow_run.parameters)
    job = read_summary(spec.out, status.job_id)
    if job is None:
        return end(job_vanished(base, status, target))
    ended = job_ended(base, job, status, target)
    url = report_page(ended.flow, report(str(flow_run.name), ended, job, spec.runs, target, spec.steps))
    return end(replace(ended, report_url=url))


def show_end(flow: str, run: FlowRun, state: State[Any], note: str = "") -> None:
    """Complete the summary of a flow run that ended without doing so: cancelled, crashed, or failed by a bug.

    Called by hooks, in whichever process. `note` is what happened to the run's jobs.
    """
    page = SummaryPage(flow, run.id)
    held = page.held
    unreported = (FlowOutcome.RUNNING, FlowOutcome.CRASHED)
    if held is not None and held.outcome not in unreported and state.type is StateType.FAILED:
        return  # its own end says more
    base = held or started(flow, run.parameters)
    page.show(interrupted(_with_rows(base, run), state, note))


def _with_rows(base: FlowRunSummary, run: FlowRun) -> FlowRunSummary:
    """`base` with what its job reported at its end, if it did."""
    try:
        target = TargetConfig.model_validate(run.parameters.get("target") or {})
        job = read_summary(base.out, base.job_id) if base.job_id else None
    except (HanclipError, ValidationError) as error:
        logger.warning("The job's summary cannot be read: %s", error)
        return base
    return job_ended(base, job, JobStatus(base.job_id, JobState.STOPPED), target) if job else base


def interrupted(base: FlowRunSummary, state: State[Any], note: str = "") -> FlowRunSummary:
    """`base` with an end that the flow itself did not report."""
    message = _PREFIX.sub("", state.message or "")
    out = f": `{base.status_command}`" if base.out else ""
    stays = f"incomplete: committed rows stay, the others are left{out}" if base.job_id else _NO_JOB
    data, reason = base.data or stays, " ".join(filter(None, (message, note)))
    if state.type in (StateType.CANCELLING, StateType.CANCELLED):
        again = "Nothing, or run the deployment again: it continues from there."
        return replace(base, outcome=FlowOutcome.CANCELLED, data=data, reason=reason, next_step=again)
    if state.type is StateType.CRASHED:
        wait = (
            "Wait: `reap` starts this run again within five minutes; finished work is not repeated. If it does not,"
            " click *Retry* on the flow run, and check that the schedule of `reap/prod` is active."
        )
        if base.flow == "reap":
            wait = "Nothing: the next scheduled run does the same. If that crashes as well, read the runner's log."
        going = "not known yet: committed rows stay, the rest follows when this run starts again"
        data = going if base.job_id else _NO_JOB
        return replace(base, outcome=FlowOutcome.CRASHED, data=data, reason=reason, next_step=wait)
    return replace(failed(base, reason), data=data)


def failed(base: FlowRunSummary, reason: str, unclear: bool = False) -> FlowRunSummary:
    """`base` with an error of the flow; `unclear`: a job may have started although no reply said so."""
    unknown = f"unknown: the job may still run, `reap` stops it; committed rows stay: `{base.status_command}`"
    return replace(
        base,
        outcome=FlowOutcome.FAILED,
        data=unknown if base.job_id or unclear else _NO_JOB,
        reason=reason,
        next_step="Remove the cause, then run the deployment again; finished work is not repeated.",
    )
