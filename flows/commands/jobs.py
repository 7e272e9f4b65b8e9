"""`hanclip submit` and `hanclip jobs`: submit, follow, list and stop jobs without Prefect.

In: a validated configuration and target. Out: the job's id and summary on stdout, its log and progress on stderr, and
the driver's exit code.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from actors.stopping import Interrupted, signal_of
from flows.commands import embed as runs
from flows.jobs.attach import ensure, inspect, watch
from flows.jobs.backends import make_backend
from flows.jobs.contract import APP, JobBackend, JobSpec, JobState, JobStatus
from flows.jobs.ids import attempt_id, job_id_base
from flows.jobs.target import TargetConfig
from flows.options.absolute import absolute
from flows.options.shell import jobs_command
from flows.terminal import display
from flows.terminal.json_lines import JsonLines, write_json
from flows.terminal.plain import plain
from flows.terminal.whole import print_table
from pipeline.config import RunConfig
from pipeline.errors import ConfigError
from pipeline.jobs.folder import read_summary
from pipeline.jobs.job import JobProgress, JobRun, JobSummary, OnJobProgress

FLOW = "submit"
_STOPPED = 143
_FOLLOW_S = 2.0


@dataclass(frozen=True, slots=True)
class JobScreen:
    """Where to show a job: its log, its progress and its events."""

    frame: AbstractContextManager[Any]
    log: Callable[[str], None] | None
    progress: OnJobProgress
    event: Callable[[str, dict[str, Any]], None] | None
    quiet: bool = False


def screen(as_json: bool, quiet: bool) -> JobScreen:
    """JSON lines, or a display with the log above it, or nothing."""
    if as_json:
        lines = JsonLines()
        return JobScreen(
            lines,
            lambda text: lines.write("log", {"text": text}),
            lambda progress: lines.write("progress", progress.to_json()),
            lines.write,
        )
    shown = display.choose(quiet)
    log = None if quiet else lambda text: typer.echo(text, err=True, nl=False)
    return JobScreen(shown, log, lambda progress: _update(shown, progress), None, quiet)


def submit(config: RunConfig, target: TargetConfig, name: str | None, detach: bool, shown: JobScreen) -> int:
    """Submit `config`, or find the job of this name; follow it unless `detach`. Returns the exit code."""
    if target.backend == "local" and detach:
        raise ConfigError("A job of the backend local ends with this command: add --jobs-address, or omit --detach.")
    spec, backend = specification(absolute(config), name), make_backend(target)
    with shown.frame:
        backend.status(attempt_id(spec.job_id_base, 1))  # fails at once if the backend is unreachable
        started = ensure(backend, spec, target)
        _announce(started, shown)
        if detach:
            return 0
        try:
            ended = watch(backend, started.job_id, spec.out, target, shown.log, shown.progress)
        except (KeyboardInterrupt, SystemExit) as error:
            raise Interrupted(signal_of(error), _leave(backend, target, started.job_id)) from error
        summary = read_summary(spec.out, ended.job_id)
        if shown.event and summary:
            shown.event("summary", summary.to_json())
    return _end(ended, summary, shown)


def specification(config: RunConfig, name: str | None) -> JobSpec:
    """A job of one run. Its id derives from the name and the output; without a name it is random."""
    out = config.output.uri
    unique = hashlib.sha256(f"{name}\n{out}".encode()).hexdigest() if name else secrets.token_hex(6)
    base = job_id_base(FLOW, unique, name or "")
    return JobSpec(base, out, (JobRun("", config),), {"app": APP, "flow": FLOW, "out": out, "name": name or ""})


def show_list(target: TargetConfig, as_json: bool) -> None:
    """Print the jobs that hanclip submitted."""
    found = make_backend(target).find(app=APP)
    if as_json:
        for job in found:
            write_json("job", asdict(job))
        return
    table = Table(box=None, header_style="dim")
    for column in ("job", "state", "began", "out"):
        table.add_column(column, no_wrap=True)
    for job in found:
        began = job.started_at.strftime("%Y-%m-%d %H:%M:%SZ") if job.started_at else ""
        table.add_row(plain(job.job_id), job.state, began, plain(job.metadata.get("out", "")))
    # In a pipe each job is one unfolded line.
    if found:
        print_table(table, Console(highlight=False, width=None if sys.stdout.isatty() else 500))
    else:
        typer.echo("No jobs.")


def show_logs(target: TargetConfig, job_id: str, follow: bool) -> None:
    """Print a job's log; with `follow` until the job has ended."""
    backend, offset = make_backend(target), 0
    while True:
        status = _known(backend, target, job_id)
        text, offset = backend.logs(job_id, offset)
        sys.stdout.write(text)
        sys.stdout.flush()
        if status.state.over or not follow:
            return
        time.sleep(min(target.poll_s, _FOLLOW_S))


def stop(target: TargetConfig, job_id: str, as_json: bool) -> None:
    """Stop a job and print how it ended."""
    backend = make_backend(target)
    before = _known(backend, target, job_id)
    backend.stop(job_id)
    out = before.metadata.get("out")
    after = (inspect(backend, job_id, out) if out else backend.status(job_id)) or before
    if as_json:
        write_json("job", asdict(after))
    else:
        typer.echo(f"{job_id} {after.state if after.state.over else 'gone'}")


def _known(backend: JobBackend, target: TargetConfig, job_id: str) -> JobStatus:
    status = backend.status(job_id)
    if status is None:
        raise ConfigError(f"There is no job {job_id}. List the jobs with: {jobs_command('list', target)}")
    return status


def _announce(started: JobStatus, shown: JobScreen) -> None:
    if shown.event:
        shown.event("job", asdict(started))
    else:
        typer.echo(started.job_id)
        if started.url and not shown.quiet:
            typer.echo(started.url, err=True)


def _leave(backend: JobBackend, target: TargetConfig, job_id: str) -> str:
    """Stop a job that cannot outlive this process; returns what to do next."""
    if target.backend == "local":
        typer.echo("Stopping: finishing the open shards", err=True)
        backend.stop(job_id)
        return "Run the same command again to continue."
    return f"The job keeps running. Stop it with: {jobs_command('stop', target, job_id)}"


def _end(ended: JobStatus, job: JobSummary | None, shown: JobScreen) -> int:
    summaries = [run.summary for run in (job.runs if job else ()) if run.summary]
    if shown.event is None and not shown.quiet:
        for summary in summaries:
            runs.show_end(summary)
    why = next(filter(None, map(runs.complaint, summaries)), ended.message)
    if code := _exit_code(ended):
        typer.secho(f"error: job {ended.job_id} {ended.state}: {why}", fg="red", err=True)
    return code


def _exit_code(ended: JobStatus) -> int:
    if ended.state is JobState.STOPPED:
        return _STOPPED
    if ended.state is JobState.SUCCEEDED:
        return ended.exit_code or 0
    return ended.exit_code if ended.exit_code in (1, 2) else 1


def _update(shown: display.Display, progress: JobProgress) -> None:
    if progress.progress:
        shown.update(progress.progress)
