"""Carries out a job: its runs in order, in one `Session`, so that the model is loaded once; then its steps.

In: the `job.json` that a submitter wrote. Out: what each run and step writes to OUT, the manifest of each run's
partition, and next to `job.json` its progress and, always, its summary. A failed run does not keep the others from
running. Steps read the whole dataset: they need one completed run, and each step the one before it.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import replace

from actors.jobs.outcomes import message_of, outcome_of, state_of, why_nothing, without_records
from actors.jobs.reports import Reports
from actors.jobs.step import carry_out
from actors.jobs.time_limit import TimeLimit
from actors.reporting.files import POLICY
from actors.reporting.run_log import RunLog
from actors.run import Run
from actors.session import Session
from actors.stopping import StopRequest, StopSignal, release_signals, signal_of
from pipeline.config import ClusterConfig
from pipeline.errors import ConfigError, HanclipError, IdentityError, SourceError, StorageError
from pipeline.faults import translated
from pipeline.jobs.folder import job_id_of, write_summary
from pipeline.jobs.job import (
    DriverState,
    Job,
    JobRun,
    JobSummary,
    OnJobProgress,
    RunOutcome,
    StepOutcome,
    timeout_message,
)
from pipeline.jobs.progress import Summary
from pipeline.jobs.steps import Step
from pipeline.partitions.manifests import STATUS_AFTER, PartitionState, write_state
from pipeline.partitions.template import input_digest, spec_digest

logger = logging.getLogger(__name__)

#: After its grace a driver at its time limit has this long to end; then it hangs, and its process is ended.
_HANGS_S = 60.0
_UNFINISHED = frozenset({"stopped", "skipped"})


class JobDriver:
    """Carries out the job whose `job.json` is at `uri`; `carry_out` may be called once.

    Args:
        uri: of the `job.json`.
        job: its content.
        on_progress: called about twice a second.
        request: stops the job like SIGTERM.
    """

    def __init__(self, uri: str, job: Job, on_progress: OnJobProgress | None, request: StopRequest | None) -> None:
        self._job_id = job_id_of(uri)
        self._uri, self._job = uri, job
        patience_s = _HANGS_S + max((run.config.cluster.grace_s for run in job.runs), default=0.0)
        self._limit = TimeLimit(job.timeout_s, request, patience_s, self._give_up)
        self._reports = Reports(uri, job, on_progress)
        self._outcomes: list[RunOutcome] = []
        self._steps: list[StepOutcome] = []
        self._current: JobRun | Step | None = None
        self._stopped_by: int | None = None

    def carry_out(self) -> JobSummary:
        """Do all runs and steps. Writes `summary.json` whatever happens, if the store is up."""
        reason = ""
        try:
            with self._limit, translated():
                self._all(_cluster_of(self._job))
        except HanclipError as error:
            reason = str(error)
        except (KeyboardInterrupt, SystemExit) as error:
            # A signal while no actors worked: nothing is lost by stopping at once.
            self._stopped_by = signal_of(error)
            self._add_stopped()
        except BaseException as error:
            self._end(f"A bug in hanclip: {error!r}. Please report it with the log of this job.")
            raise
        return self._end(reason)

    def _all(self, cluster: ClusterConfig) -> None:
        """Fill `_outcomes` and `_steps`, until a stop.

        Raises:
            HanclipError: nothing can be run.
        """
        with Session(cluster) as session:
            for part in (*self._job.runs, *self._job.steps):
                if self._stopped_by is None and self._limit.is_set():
                    self._stopped_by = signal.SIGTERM
                if self._stopped_by is not None:
                    return
                self._current = part
                if isinstance(part, JobRun):
                    self._run(session, part)
                else:
                    self._step(session, part)

    def _step(self, session: Session, step: Step) -> None:
        """Carry out one step, unless its input is missing."""
        release_signals()
        if reason := self._skip_reason():
            outcome = StepOutcome(step.kind, "skipped", reason)
        else:
            outcome = carry_out(step, session, self._reports.of_step(len(self._steps), step.kind, self._limit))
        self._steps.append(outcome)
        self._current = None

    def _skip_reason(self) -> str:
        if any(step.state != "complete" for step in self._steps):
            return "The step before it did not complete."
        if self._outcomes and not any(run.state == "complete" for run in self._outcomes):
            return "No run completed, so there is no new data."
        return ""

    def _add_stopped(self) -> None:
        if isinstance(self._current, JobRun):
            self._outcomes.append(RunOutcome(self._current.key, "stopped", "Stopped before it embedded anything."))
        elif self._current is not None:
            message = "Stopped before it was done; it can be run again."
            self._steps.append(StepOutcome(self._current.kind, "stopped", message))

    def _run(self, session: Session, job_run: JobRun) -> None:
        """One run and the manifest of its partition."""
        number, began_s = len(self._outcomes), time.monotonic()
        log = RunLog(f"{job_run.key} (run {number + 1} of {len(self._job.runs)})".lstrip(), job_run.config.source.uris)
        run = Run(job_run.config, self._reports.of_run(number, log), self._limit)
        # Before the run lists the source, so that files added meanwhile look new to the next run.
        listed = input_digest(job_run.config) if job_run.key else ""
        summary: Summary | None = None
        has_manifest = bool(job_run.key)
        try:
            with translated():
                summary = run.embed(session)
        except SourceError as error:
            outcome = without_records(error, job_run)
        except HanclipError as error:
            outcome = RunOutcome(job_run.key, "failed", str(error))
            # A wrong model for this dataset is an error in the request, not in the partition.
            has_manifest = has_manifest and not isinstance(error, IdentityError)
        else:
            outcome = outcome_of(job_run.key, summary)
        log.end(outcome.state, outcome.message, summary)
        self._outcomes.append(outcome)
        self._current, self._stopped_by = None, run.stop.number
        if has_manifest and outcome.state in STATUS_AFTER:
            state = state_of(outcome, summary, run.run_id, time.monotonic() - began_s)
            spec = spec_digest(job_run.config)
            self._write_state(job_run, replace(state, spec=spec, input=listed, job_id=self._job_id))

    def _write_state(self, job_run: JobRun, state: PartitionState) -> None:
        """Write the manifest; a failure is only logged, since a partition without one is simply checked again."""
        try:
            write_state(job_run.config.output.uri, state)
        except StorageError as error:
            logger.warning("Cannot write the manifest of %s: %s", state.key, error)

    def _end(self, reason: str) -> JobSummary:
        """Report the end. A second signal waits for it, because others rely on the summary."""
        with StopSignal():
            outcomes, after = self._all_outcomes()
            timed_out = self._limit.expired and bool(_states(outcomes, after) & _UNFINISHED)
            reason = timeout_message(self._job.timeout_s) if timed_out else reason or why_nothing(self._job, outcomes)
            state, exit_code = self._verdict(outcomes, after, reason)
            message = message_of(outcomes, after, reason)
            summary = JobSummary(self._job_id, state, exit_code, message, outcomes, after, timed_out)
            logger.info("Job %s: %s. %s", summary.job_id, summary.state, summary.message)
            self._reports.end(summary)
        return summary

    def _all_outcomes(self) -> tuple[tuple[RunOutcome, ...], tuple[StepOutcome, ...]]:
        """The outcomes so far; the other runs and steps are skipped."""
        runs, steps = self._job.runs[len(self._outcomes) :], self._job.steps[len(self._steps) :]
        return (
            (*self._outcomes, *(RunOutcome(run.key, "skipped") for run in runs)),
            (*self._steps, *(StepOutcome(step.kind, "skipped") for step in steps)),
        )

    def _give_up(self) -> None:
        """At the time limit: leave a summary and end the process, whose main thread does not react."""
        outcomes, after = self._all_outcomes()
        message = f"{timeout_message(self._job.timeout_s)} The driver did not react, and its process was ended."
        try:
            write_summary(self._uri, JobSummary(self._job_id, "failed", 1, message, outcomes, after, True), POLICY)
        finally:
            os._exit(1)

    def _verdict(
        self, outcomes: tuple[RunOutcome, ...], steps: tuple[StepOutcome, ...], reason: str
    ) -> tuple[DriverState, int]:
        states = _states(outcomes, steps)
        if self._stopped_by is not None and not reason and states & _UNFINISHED:
            return "stopped", 128 + self._stopped_by
        if reason or "failed" in states:
            return "failed", 1
        codes = [outcome.summary.exit_code for outcome in outcomes if outcome.summary]
        return "complete", max(codes, default=0)


def _states(outcomes: tuple[RunOutcome, ...], steps: tuple[StepOutcome, ...]) -> set[str]:
    return {run.state for run in outcomes} | {step.state for step in steps}


def _cluster_of(job: Job) -> ClusterConfig:
    clusters = {run.config.cluster.address: run.config.cluster for run in job.runs}
    if len(clusters) > 1:
        raise ConfigError(
            f"The runs of a job share one Ray cluster, and these name {len(clusters)}: "
            f"{', '.join(str(address) for address in clusters)}. Submit a job for each."
        )
    return next(iter(clusters.values()), ClusterConfig())
