"""Renders the report of a job in markdown.

In: the `JobSummary` and the request. Out: a page that starts with the sum of all rows and ends with the command that
runs the job again.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from flows.facts.flow_run import FlowRunSummary
from flows.facts.job import retry_helps, summaries_of, total
from flows.facts.run import run_facts
from flows.jobs.target import TargetConfig
from flows.options.shell import embed_command
from flows.scheduled.pages.curate import commands, section
from flows.scheduled.pages.markup import bash, fact_table, link, table
from flows.terminal import figures
from flows.terminal.next_commands import retry_options
from pipeline.jobs.job import JobRun, JobSummary
from pipeline.jobs.progress import Summary
from pipeline.jobs.steps import Step
from pipeline.vocabulary import TRANSIENT_REASONS

#: Nobody copies more commands than this.
_COMMANDS = 3


def report(
    title: str,
    ended: FlowRunSummary,
    job: JobSummary,
    runs: Sequence[JobRun],
    target: TargetConfig,
    steps: Sequence[Step] = (),
) -> str:
    """The whole page. `ended` is the flow run's summary, `target` where the job ran; the rest is the request."""
    summaries = summaries_of(job)
    whole = total(summaries)
    parts = [f"# {title}: {ended.outcome}", ended.message, _facts(ended, whole)]
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


def _facts(ended: FlowRunSummary, whole: Summary | None) -> str:
    of_runs = [*run_facts(whole), ("time", figures.duration(whole.seconds))] if whole else []
    return fact_table([*of_runs, ("job", link(ended.job_id, ended.job_url))])


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
    retried = job.state != "complete" and retry_helps(job.job_id, target)
    way = "*Retry* on this flow run, or run" if retried else "run"
    yield f"Finished work is not repeated. In Prefect: {way} the deployment again."


def _look(out: str) -> str:
    return bash(*(shlex.join(["hanclip", command, out]) for command in ("status", "verify")))
