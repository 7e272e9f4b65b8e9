"""Renders the report of a job in markdown.

In: the `JobSummary` and the request. Out: a page that starts with the sum of all rows and ends with the command that
runs the job again.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from flows.facts.run import excess_quarantine, run_facts, vanished
from flows.jobs.ids import attempt_of
from flows.jobs.target import TargetConfig
from flows.options.shell import embed_command
from flows.scheduled.pages.curate import commands, section, step_verdict
from flows.scheduled.pages.markup import bash, fact_table, table
from flows.terminal import figures
from flows.terminal.next_commands import retry_options
from pipeline.jobs.job import JobRun, JobSummary, RunOutcome
from pipeline.jobs.progress import Summary
from pipeline.jobs.steps import Step
from pipeline.stats import Stats
from pipeline.vocabulary import TRANSIENT_REASONS

#: Nobody copies more commands than this.
_COMMANDS = 3


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
    return replace(most, stats=stats, run_date=dates.pop() if len(dates) == 1 else "", **added)


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


def succeeded(job: JobSummary) -> bool:
    """Whether the job succeeded."""
    return job.exit_code == 0


def verdict(job: JobSummary) -> str:
    """How the job ended, in one line: the message of the flow run's state."""
    summaries = summaries_of(job)
    whole = total(summaries)
    parts = [f"rows in {whole.balance}"] if whole else []
    if whole and whole.rows_vanished:
        parts.append(vanished(whole.rows_vanished))
    if job.exit_code == 3:
        worst = max((summary.quarantine_share for summary in summaries), default=0.0)
        parts.append(excess_quarantine(worst, "output.max_quarantine"))
    elif not succeeded(job):
        of_runs = [f"{run.key}: {run.message}" if run.key else run.message for run in _bad(job)[:3]]
        nothing_found = bool(job.runs) and all(run.state == "empty" for run in job.runs)
        explained = of_runs or (not nothing_found and any(step.message for step in job.steps))
        parts += of_runs if explained else [job.message]
    parts += map(step_verdict, job.steps)
    empty = sum(run.state == "empty" for run in job.runs if run.key)
    if empty:
        parts.append(f"{empty} of {len(job.runs)} dates without files")
    return "; ".join(text.rstrip(".") for text in parts if text) or "nothing to do"


def _bad(job: JobSummary) -> list[RunOutcome]:
    return [run for run in job.runs if run.message and (run.state in ("failed", "stopped") or not run.key)]


def report(
    title: str,
    job: JobSummary,
    runs: Sequence[JobRun],
    url: str | None,
    target: TargetConfig,
    steps: Sequence[Step] = (),
) -> str:
    """The whole page. `url` is the job's page, `target` where it ran; `runs` and `steps` are the request."""
    summaries = summaries_of(job)
    whole = total(summaries)
    parts = [f"# {title}: {_word(job)}", verdict(job), _facts(job, whole, url)]
    if whole and whole.stats.quarantined:
        parts += ["## Quarantine", _quarantine(whole)]
    if len(job.runs) > 1:
        parts += ["## Runs", _runs(job)]
    notes = [f"- {note}" for summary in summaries for note in summary.notes]
    if notes:
        parts += ["## Source", "\n".join(dict.fromkeys(notes))]
    parts += [section(step) for step in job.steps]
    out = runs[0].config.output.uri if runs else steps[0].out
    parts += ["## Run it again", *_again(job, runs, target, steps), "## Look at it", _look(out)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _word(job: JobSummary) -> str:
    if not succeeded(job) and job.runs and all(run.state == "empty" for run in job.runs):
        return "nothing found"
    return "complete, but too much in quarantine" if job.exit_code == 3 else job.state


def _facts(job: JobSummary, whole: Summary | None, url: str | None) -> str:
    of_runs = [*run_facts(whole), ("time", figures.duration(whole.seconds))] if whole else []
    return fact_table([*of_runs, ("job", f"[{job.job_id}]({url})" if url else job.job_id)])


def _quarantine(whole: Summary) -> str:
    counts = sorted(whole.stats.quarantined.items(), key=lambda item: (-item[1], item[0]))
    rows = [
        (reason, f"{count:,}", "may pass on a retry" if reason in TRANSIENT_REASONS else "fix the source")
        for reason, count in counts
    ]
    options = retry_options(whole.stats.quarantined)
    retry = "\n\n" + bash(shlex.join(["hanclip", "retry", whole.output, *options])) if options else ""
    return table(("reason", "records", "what to do"), rows) + retry


def _runs(job: JobSummary) -> str:
    rows = [(run.key, run.state, *_counts(run.summary), run.message) for run in job.runs]
    return table(("date", "state", "rows in", "embedded", "quarantined", "already done", "time", "note"), rows)


def _counts(summary: Summary | None) -> tuple[str, ...]:
    if summary is None:
        return ("",) * 5
    stats = summary.stats
    counts = (summary.rows_in, stats.embedded, stats.quarantined.total(), summary.rows_already_done)
    return (*(f"{count:,}" for count in counts), figures.duration(summary.seconds))


def _again(job: JobSummary, runs: Sequence[JobRun], target: TargetConfig, steps: Sequence[Step]) -> Iterator[str]:
    undone = {run.key for run in job.runs if run.state not in ("complete", "empty")}
    again = [run for run in runs if run.key in undone] or list(runs)
    lines = [embed_command(run.config, target) for run in again[-_COMMANDS:]]
    if lines:
        yield bash(*lines)
    yield from map(commands, steps)
    if len(again) > len(lines):
        yield f"{len(again) - len(lines)} more such commands, for the other dates."
    way = "*Retry* on this flow run, or run" if retry_helps(job, target) else "run"
    yield f"Finished work is not repeated. In Prefect: {way} the deployment again."


def retry_helps(job: JobSummary, target: TargetConfig) -> bool:
    """Whether a retry of the same flow run starts another attempt: not after success, and not after the last one."""
    return job.state != "complete" and attempt_of(job.job_id) < target.max_attempts


def _look(out: str) -> str:
    return bash(*(shlex.join(["hanclip", command, out]) for command in ("status", "verify")))
