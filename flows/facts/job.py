"""The facts of a job that ended: the rows of all its runs, whether the data is complete, why, and the next step."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from flows.facts.flow_run import FlowOutcome, FlowRunSummary
from flows.facts.run import excess_quarantine, vanished
from flows.jobs.contract import JobState, JobStatus
from flows.jobs.ids import attempt_of
from flows.jobs.target import TargetConfig
from flows.terminal.next_commands import retry_options
from pipeline import units
from pipeline.jobs.job import JobSummary, RunOutcome, StepOutcome
from pipeline.jobs.progress import Summary
from pipeline.stats import Stats, sum_skipped

#: Dates and reasons that are named; the report has all of them.
_NAMED = 3
_ADDED = (
    "rows_planned",
    "rows_already_done",
    "rows_elsewhere",
    "rows_left",
    "rows_vanished",
    "seconds",
    "startup_s",
    "actors_replaced",
)


def summaries_of(job: JobSummary) -> list[Summary]:
    """The summaries of the runs that have one."""
    return [run.summary for run in job.runs if run.summary]


def total(summaries: Sequence[Summary]) -> Summary | None:
    """All runs as one: rows and seconds are added, other values come from the largest run; None without runs."""
    if not summaries:
        return None
    most = max(summaries, key=lambda summary: summary.stats.records)
    dates = {summary.run_date for summary in summaries}
    added = {name: sum(getattr(one, name) for one in summaries) for name in _ADDED}
    stats = sum((one.stats for one in summaries), Stats())
    skipped = sum_skipped(part for one in summaries for part in one.skipped)
    run_date = dates.pop() if len(dates) == 1 else ""
    return replace(most, stats=stats, run_date=run_date, skipped=skipped, **added)


def job_ended(base: FlowRunSummary, job: JobSummary, status: JobStatus, target: TargetConfig) -> FlowRunSummary:
    """`base` with the end of its job, as the job's driver reported it."""
    whole = total(summaries_of(job))
    outcome = FlowOutcome.TIMED_OUT if status.timed_out else _outcome(job, whole)
    reason = status.message if status.timed_out else _reason(job, outcome)
    return replace(
        base,
        outcome=outcome,
        data=_data(job, whole),
        rows=whole.balance if whole else "",
        reason=reason,
        details="; ".join(_details(job, whole)),
        next_step=_next_step(base, outcome, whole, _way(job.job_id, target)),
        progress="",
    )


def job_vanished(base: FlowRunSummary, status: JobStatus, target: TargetConfig) -> FlowRunSummary:
    """`base` with the end of a job whose driver left no summary: it never started, or died."""
    outcome = FlowOutcome.FAILED
    if status.timed_out:
        outcome = FlowOutcome.TIMED_OUT
    elif status.state is JobState.STOPPED:
        outcome = FlowOutcome.STOPPED
    return replace(
        base,
        outcome=outcome,
        data=f"unknown, because the job left no summary; committed rows stay: `{base.status_command}`",
        reason=f"Job {status.job_id} is {status.state} and left no summary: {status.message}",
        next_step=_next_step(base, outcome, None, _way(status.job_id, target)),
        progress="",
    )


def step_result(outcome: StepOutcome) -> str:
    """How a step ended, as a part of the job's message."""
    return f"{outcome.kind}: {outcome.message or outcome.state}"


def retry_helps(job_id: str, target: TargetConfig) -> bool:
    """Whether a retry of the same flow run starts another attempt: not after the last one."""
    return attempt_of(job_id) < target.max_attempts


def _outcome(job: JobSummary, whole: Summary | None) -> FlowOutcome:
    if job.exit_code == 3:
        return FlowOutcome.QUARANTINE
    if job.exit_code:
        return FlowOutcome.STOPPED if job.state == "stopped" else FlowOutcome.FAILED
    idle = whole is None or not (whole.rows_planned or whole.rows_vanished)
    return FlowOutcome.NOTHING_TO_DO if idle and not job.steps else FlowOutcome.COMPLETE


def _reason(job: JobSummary, outcome: FlowOutcome) -> str:
    if outcome is FlowOutcome.QUARANTINE:
        worst = max((summary.quarantine_share for summary in summaries_of(job)), default=0.0)
        return excess_quarantine(worst, "output.max_quarantine")
    if outcome.succeeded:
        return ""
    of_runs = [f"{run.key}: {run.message}" if run.key else run.message for run in _bad(job)[:_NAMED]]
    nothing_found = bool(job.runs) and all(run.state == "empty" for run in job.runs)
    explained = of_runs or (not nothing_found and any(step.message for step in job.steps))
    return "; ".join(text.rstrip(".") for text in (of_runs if explained else [job.message]))


def _bad(job: JobSummary) -> list[RunOutcome]:
    return [run for run in job.runs if run.message and (run.state in ("failed", "stopped") or not run.key)]


def _details(job: JobSummary, whole: Summary | None) -> Iterator[str]:
    if whole and whole.rows_vanished:
        yield vanished(whole.rows_vanished)
    yield from (step_result(step).rstrip(".") for step in job.steps)
    empty = sum(run.state == "empty" for run in job.runs if run.key)
    if empty:
        yield f"{empty} of {len(job.runs)} dates without files"


def _data(job: JobSummary, whole: Summary | None) -> str:
    missing = list(_missing(job, whole))
    if missing:
        return f"incomplete: {'; '.join(missing)}"
    if whole is None and job.exit_code:
        return "unchanged: nothing was embedded"
    if whole is None:
        return "unchanged: no files were found" if job.runs else "complete: every row of the dataset was compared"
    quarantined = whole.stats.quarantined.total()
    if quarantined:
        return f"complete, except {units.count(quarantined, 'record')} in quarantine that could not be embedded"
    return "complete: every row of the source has an outcome"


def _missing(job: JobSummary, whole: Summary | None) -> Iterator[str]:
    """What is not done."""
    if whole and whole.rows_left:
        yield f"{whole.rows_left:,} of {whole.rows_in:,} rows are left"
    unplanned = [run for run in job.runs if run.state in ("failed", "stopped", "skipped") and run.summary is None]
    keys = [run.key for run in unplanned if run.key]
    if keys:
        more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
        yield f"nothing was done for {', '.join(keys[:_NAMED])}{more}"
    elif unplanned:
        yield "nothing was embedded"
    steps = [step.kind for step in job.steps if step.state != "complete"]
    if steps:
        yield f"{' and '.join(steps)} did not complete"


def _way(job_id: str, target: TargetConfig) -> str:
    retry = "click *Retry* on the flow run, or " if retry_helps(job_id, target) else ""
    return f"{retry}run the deployment again"


def _next_step(base: FlowRunSummary, outcome: FlowOutcome, whole: Summary | None, way: str) -> str:
    quarantined = whole.stats.quarantined if whole else {}
    options = retry_options(quarantined)
    retry = f"`{shlex.join(['hanclip', 'retry', base.out, *options])}`" if options else ""
    night = " Or wait: the next night does what is left." if base.flow == "nightly" else ""
    match outcome:
        case FlowOutcome.COMPLETE | FlowOutcome.NOTHING_TO_DO:
            return f"Nothing. Some quarantined records may pass on a retry: {retry}" if retry else "Nothing."
        case FlowOutcome.QUARANTINE:
            passing = f" Those that may pass on a retry: {retry}." if retry else ""
            return (
                f"Read the reasons in the report or with `{base.status_command}`; fix the"
                f" source, or raise `output.max_quarantine`.{passing} The other rows are in the dataset."
            )
        case FlowOutcome.TIMED_OUT:
            return f"Raise `target.timeout_s` if the work needs longer, then {way}; it continues from there.{night}"
        case FlowOutcome.STOPPED:
            return f"To continue from there, {way}.{night}"
    return f"Remove the cause, then {way}; finished work is not repeated.{night}"
