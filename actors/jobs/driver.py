"""A job: runs one after another in one `Session`, so that Ray is joined once and the model is loaded once, then steps.

In: the `job.json` that a submitter wrote. Out: what each run and step leaves in OUT, the manifest of each run's
partition, and beside `job.json` the progress and, always, the summary. A run that fails does not keep the others from
being done. Steps look at all of the dataset: they need one run that was completed, and each the step before it.
"""

from __future__ import annotations

import logging
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from actors.jobs.reports import Reports
from actors.jobs.step import carry_out
from actors.reporting.run_log import RunLog
from actors.run import Run
from actors.session import Session
from actors.stopping import StopSignal, Wish
from pipeline.config import ClusterConfig
from pipeline.errors import (
    ConfigError,
    EmptySourceError,
    HanclipError,
    IdentityError,
    NoBucketError,
    NotFoundError,
    SourceError,
    StorageError,
)
from pipeline.jobs import folder as job_folder
from pipeline.jobs.folder import Job, JobRun, JobState, JobSummary, OnJobProgress, RunOutcome, RunState, StepOutcome
from pipeline.jobs.progress import State, Summary
from pipeline.jobs.steps import Step
from pipeline.partitions import template as partitions
from pipeline.partitions.template import PartitionState, Status

logger = logging.getLogger(__name__)

_TOO_MUCH_QUARANTINE = 3
_STATES: Mapping[State, RunState] = {"complete": "complete", "stopped": "stopped", "failed": "failed"}
#: What a partition is after a run. One that was stopped stays what it was.
_MANIFEST: Mapping[RunState, Status] = {"complete": "done", "empty": "empty", "failed": "failed"}


class JobDriver:
    """Carries out the job whose `job.json` is at `uri`; `go` does it once.

    Args:
        uri: of the job.
        job: what is in it.
        on_progress: called about twice a second.
        wish: stops the job like SIGTERM.
    """

    def __init__(self, uri: str, job: Job, on_progress: OnJobProgress | None, wish: Wish | None) -> None:
        self._job_id = job_folder.job_id_of(uri)
        self._job = job
        self._wish = wish
        self._reports = Reports(uri, job, on_progress)
        self._outcomes: list[RunOutcome] = []
        self._steps: list[StepOutcome] = []
        self._under_way: JobRun | Step | None = None
        self._stopped_by: int | None = None

    def go(self) -> JobSummary:
        """Do all of it. Afterwards `summary.json` is there, whatever happened, if the store allows it."""
        why = ""
        try:
            self._all(_cluster_of(self._job))
        except HanclipError as error:
            why = str(error)
        except (KeyboardInterrupt, SystemExit) as error:
            # A signal outside of a run's work: nothing is lost by stopping at once.
            self._stopped_by = _signal_of(error)
            self._note_stopped()
        except BaseException as error:
            self._end(f"A fault of hanclip itself: {error!r}. Please report it with the log of this job.")
            raise
        return self._end(why)

    def _all(self, cluster: ClusterConfig) -> None:
        """Fill `_outcomes` and `_steps`, until a stop.

        Raises:
            HanclipError: what stands in the way of everything.
        """
        with Session(cluster) as session:
            for part in (*self._job.runs, *self._job.steps):
                if self._stopped_by is None and self._wish is not None and self._wish.is_set():
                    self._stopped_by = signal.SIGTERM
                if self._stopped_by is not None:
                    return
                self._under_way = part
                if isinstance(part, JobRun):
                    self._one(session, part)
                else:
                    self._step(session, part)

    def _step(self, session: Session, step: Step) -> None:
        """One step, unless what it would look at is not there."""
        if why := self._in_the_way():
            outcome = StepOutcome(step.kind, "skipped", why)
        else:
            outcome = carry_out(step, session, self._reports.of_step(len(self._steps), step.kind, self._wish))
        self._steps.append(outcome)
        self._under_way = None

    def _in_the_way(self) -> str:
        if any(step.state != "complete" for step in self._steps):
            return "The step before it was not completed."
        if self._outcomes and not any(run.state == "complete" for run in self._outcomes):
            return "No run was completed, so there is nothing new to look at."
        return ""

    def _note_stopped(self) -> None:
        if isinstance(self._under_way, JobRun):
            self._outcomes.append(RunOutcome(self._under_way.key, "stopped", "Stopped before it embedded."))
        elif self._under_way is not None:
            told = "Stopped before it was done; done again, it comes to the same."
            self._steps.append(StepOutcome(self._under_way.kind, "stopped", told))

    def _one(self, session: Session, job_run: JobRun) -> None:
        """One run and the manifest of its partition."""
        number, began_s = len(self._outcomes), time.monotonic()
        log = RunLog(f"{job_run.key} (run {number + 1} of {len(self._job.runs)})".lstrip(), job_run.config.source.uris)
        run = Run(job_run.config, self._reports.of_run(number, log), self._wish)
        # Before the run lists the source: what comes in meanwhile must look new to the next one.
        listed = partitions.input_digest(job_run.config) if job_run.key else ""
        summary: Summary | None = None
        told = bool(job_run.key)
        try:
            summary = run.embed(session)
        except SourceError as error:
            outcome = RunOutcome(job_run.key, "empty" if _is_empty(error, job_run) else "failed", str(error))
        except HanclipError as error:
            outcome = RunOutcome(job_run.key, "failed", str(error))
            # Another model for this dataset is a wrong request; it says nothing about the partition.
            told = told and not isinstance(error, IdentityError)
        else:
            outcome = _outcome(job_run.key, summary)
        log.end(outcome.state, outcome.message, summary)
        self._outcomes.append(outcome)
        self._under_way, self._stopped_by = None, run.stop.number
        if told and outcome.state in _MANIFEST:
            state = _state(outcome, summary, run.run_id, time.monotonic() - began_s)
            spec = partitions.spec_digest(job_run.config)
            self._write_state(job_run, replace(state, spec=spec, input=listed, job_id=self._job_id))

    def _write_state(self, job_run: JobRun, state: PartitionState) -> None:
        """Without its manifest a partition is only looked at again, so a store that is down ends nothing."""
        try:
            partitions.write_state(job_run.config.output.uri, state)
        except StorageError as error:
            logger.warning("The manifest of %s was not written: %s", state.key, error)

    def _end(self, why: str) -> JobSummary:
        """Tell the end. A second signal waits for it: what is written here is what others will know."""
        with StopSignal():
            runs, steps = self._job.runs[len(self._outcomes) :], self._job.steps[len(self._steps) :]
            outcomes = (*self._outcomes, *(RunOutcome(run.key, "skipped") for run in runs))
            after = (*self._steps, *(StepOutcome(step.kind, "skipped") for step in steps))
            state, exit_code = self._verdict(outcomes, after, why)
            summary = JobSummary(self._job_id, state, exit_code, _message(outcomes, after, why), outcomes, after)
            logger.info("Job %s: %s. %s", summary.job_id, summary.state, summary.message)
            self._reports.end(summary)
        return summary

    def _verdict(
        self, outcomes: tuple[RunOutcome, ...], steps: tuple[StepOutcome, ...], why: str
    ) -> tuple[JobState, int]:
        states = {run.state for run in outcomes} | {step.state for step in steps}
        if self._stopped_by is not None and states & {"stopped", "skipped"}:
            return "stopped", 128 + self._stopped_by
        if why or "failed" in states:
            return "failed", 1
        codes = [outcome.summary["exit_code"] for outcome in outcomes if outcome.summary]
        return "complete", max(codes, default=0)


def _is_empty(error: SourceError, run: JobRun) -> bool:
    """Whether the source only holds no records. For a partition of one folder, no such folder is that too."""
    absent = isinstance(error.__cause__, NotFoundError) and not isinstance(error.__cause__, NoBucketError)
    return isinstance(error, EmptySourceError) or (absent and run.key != "" and len(run.config.source.uris) == 1)


def _signal_of(error: KeyboardInterrupt | SystemExit) -> int:
    """Number of the signal that ended the process: its exit code less 128."""
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    return error.code - 128 if isinstance(error.code, int) and error.code > 128 else signal.SIGTERM


def _cluster_of(job: Job) -> ClusterConfig:
    clusters = {run.config.cluster.address: run.config.cluster for run in job.runs}
    if len(clusters) > 1:
        raise ConfigError(
            f"The runs of a job share one Ray, and these name {len(clusters)}: "
            f"{', '.join(str(address) for address in clusters)}. Submit a job for each."
        )
    return next(iter(clusters.values()), ClusterConfig())


def _outcome(key: str, summary: Summary) -> RunOutcome:
    message = summary.message
    if summary.exit_code == _TOO_MUCH_QUARANTINE:
        message = f"{summary.quarantine_share:.1%} of the dataset's records are in quarantine: see `hanclip status`."
    return RunOutcome(key, _STATES[summary.state], message, summary.to_json())


def _state(outcome: RunOutcome, summary: Summary | None, run_id: str, seconds: float) -> PartitionState:
    return PartitionState(
        key=outcome.key,
        status=_MANIFEST[outcome.state],
        rows=summary.rows_in_source if summary else 0,
        embedded=summary.stats.embedded if summary else 0,
        quarantined=summary.stats.quarantined.total() if summary else 0,
        run_id=run_id,
        seconds=seconds,
        message=outcome.message,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _message(outcomes: tuple[RunOutcome, ...], steps: tuple[StepOutcome, ...], why: str) -> str:
    """How many runs ended how, how each step did, and the first reason why not all is well."""
    counts = Counter(outcome.state for outcome in outcomes)
    runs = ", ".join(f"{count} {state}" for state, count in counts.items())
    after = ", ".join(f"{step.kind} {step.state}" for step in steps)
    named = [(run.key, run.state, run.message) for run in outcomes]
    named += [(step.kind, step.state, step.message) for step in steps]
    failed = (f"{name}: {message}".lstrip(": ") for name, state, message in named if state == "failed")
    told = (f"Runs: {runs}" if runs else "", f"Steps: {after}" if after else "", why or next(failed, ""))
    return ". ".join(filter(None, told))
