"""The outcomes of a job's runs as values: their states, messages and manifests.

In: summaries and errors of runs. Out: `RunOutcome`, the manifest of its partition, and what a job says at its end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pipeline.errors import EmptySourceError, HanclipError, NoBucketError, NotFoundError, SourceError, StorageError
from pipeline.jobs.job import Job, JobRun, RunOutcome, RunState, StepOutcome
from pipeline.jobs.progress import State, Summary
from pipeline.partitions.evidence import never_found, vanished
from pipeline.partitions.manifests import STATUS_AFTER, PartitionState
from pipeline.partitions.template import Partition

TOO_MUCH_QUARANTINE = 3
_STATES: Mapping[State, RunState] = {"complete": "complete", "stopped": "stopped", "failed": "failed"}


def without_records(error: SourceError, run: JobRun) -> RunOutcome:
    """The outcome of a run whose source cannot be planned: `empty` if it just holds no records.

    A partition of one folder is also empty if the folder is missing, but not if the folder of all partitions is.
    """
    absent = isinstance(error.__cause__, NotFoundError) and not isinstance(error.__cause__, NoBucketError)
    if not (isinstance(error, EmptySourceError) or (absent and run.key != "" and len(run.config.source.uris) == 1)):
        return RunOutcome(run.key, "failed", str(error))
    try:
        gone = vanished(run.template)
    except StorageError as unknown:
        return RunOutcome(run.key, "failed", str(unknown))
    return RunOutcome(run.key, "failed" if gone else "empty", f"{gone} {error}".lstrip())


def why_nothing(job: Job, outcomes: Sequence[RunOutcome]) -> str:
    """Why a job whose runs are all empty is a failure; empty if that is normal or a run was not empty."""
    if not outcomes or any(outcome.state != "empty" for outcome in outcomes):
        return ""
    if not all(run.key for run in job.runs):
        return next(outcome.message for outcome in outcomes if not outcome.key)
    if not job.needs_evidence:
        return ""
    first = job.runs[0]
    source = first.config.source.model_copy(update={"uris": first.template})
    template = first.config.model_copy(update={"source": source})
    try:
        return never_found(template, [Partition(run.key, run.config) for run in job.runs])
    except HanclipError as error:
        return str(error)


def outcome_of(key: str, summary: Summary) -> RunOutcome:
    """The outcome of a run that has a summary."""
    message = summary.message
    if summary.exit_code == TOO_MUCH_QUARANTINE:
        message = f"{summary.quarantine_share:.1%} of the dataset's records are in quarantine: see `hanclip status`."
    return RunOutcome(key, _STATES[summary.state], message, summary)


def state_of(outcome: RunOutcome, summary: Summary | None, run_id: str, seconds: float) -> PartitionState:
    """The manifest of a run's partition, without its digests and its job."""
    return PartitionState(
        key=outcome.key,
        status=STATUS_AFTER[outcome.state],
        rows=summary.rows_in_source if summary else 0,
        embedded=summary.stats.embedded if summary else 0,
        quarantined=summary.stats.quarantined.total() if summary else 0,
        run_id=run_id,
        seconds=seconds,
        message=outcome.message,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def message_of(outcomes: tuple[RunOutcome, ...], steps: tuple[StepOutcome, ...], reason: str) -> str:
    """How many runs ended in each state, the state of each step, and the first error."""
    counts = Counter(outcome.state for outcome in outcomes)
    runs = ", ".join(f"{count} {state}" for state, count in counts.items())
    after = ", ".join(f"{step.kind} {step.state}" for step in steps)
    named = [(run.key, run.state, run.message) for run in outcomes]
    named += [(step.kind, step.state, step.message) for step in steps]
    failed = (f"{name}: {message}".lstrip(": ") for name, state, message in named if state == "failed")
    parts = (f"Runs: {runs}" if runs else "", f"Steps: {after}" if after else "", reason or next(failed, ""))
    return ". ".join(filter(None, parts))
