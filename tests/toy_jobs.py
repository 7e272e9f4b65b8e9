"""A `JobBackend` in memory whose jobs take milliseconds: for tests of whatever schedules jobs.

A partition does as its behaviour says, by key: done (the default), empty, fail, slow (until it is stopped), die (the
driver ends without a word, once), dies (always), raced (another job writes the manifest after this one). What a job
leaves in OUT is what a driver leaves there.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from flows.jobs.contract import JobSpec, JobState, JobStatus
from pipeline.jobs.folder import (
    Job,
    JobProgress,
    JobSummary,
    RunOutcome,
    job_uri,
    write_job,
    write_progress,
    write_summary,
)
from pipeline.partitions.template import PartitionState, input_digest, spec_digest, write_state

RUN_S = 0.03


@dataclass
class ToyJobs:
    """Jobs as threads. `spans` has the moments when each job began and ended, `ran` how often a partition was run."""

    behaviour: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, JobStatus] = field(default_factory=dict)
    stops: dict[str, threading.Event] = field(default_factory=dict)
    spans: dict[str, list[float]] = field(default_factory=dict)
    ran: Counter[str] = field(default_factory=Counter)

    def submit(self, job_id: str, spec: JobSpec) -> None:
        if job_id in self.jobs:
            return
        write_job(spec.out, job_id, Job(spec.runs))
        self.stops[job_id] = threading.Event()
        self.jobs[job_id] = JobStatus(job_id, JobState.RUNNING, metadata=spec.metadata, started_at=datetime.now(UTC))
        self.spans[job_id] = [time.monotonic()]
        threading.Thread(target=self._drive, args=(job_id, spec), daemon=True).start()

    def status(self, job_id: str) -> JobStatus | None:
        return self.jobs.get(job_id)

    def logs(self, job_id: str, offset: int) -> tuple[str, int]:
        return "", offset

    def stop(self, job_id: str) -> None:
        self.stops[job_id].set()
        while not self.jobs[job_id].state.over:
            time.sleep(0.005)

    def find(self, **metadata: str) -> list[JobStatus]:
        return [status for status in self.jobs.values() if metadata.items() <= dict(status.metadata).items()]

    def most_at_once(self) -> int:
        """Jobs that ran at the same moment, the most of them."""
        begun = [began for began, _ in self.spans.values()]
        return max(sum(began <= moment < ended for began, ended in self.spans.values()) for moment in begun)

    def _drive(self, job_id: str, spec: JobSpec) -> None:
        outcomes: list[RunOutcome] = []
        uri = job_uri(spec.out, job_id)
        for number, run in enumerate(spec.runs):
            write_progress(uri, JobProgress(job_id, "running", number, len(spec.runs)))
            word = self.behaviour.get(run.key, "done")
            self.ran[run.key] += 1
            if word in ("die", "dies"):
                if word == "die":
                    del self.behaviour[run.key]
                self._end(job_id, JobState.FAILED, "Killed.")
                return
            stopped = self.stops[job_id].wait(60 if word == "slow" else RUN_S)
            if stopped:
                outcomes.append(RunOutcome(run.key, "stopped"))
                break
            state = {"fail": "failed", "empty": "empty"}.get(word, "complete")
            outcomes.append(RunOutcome(run.key, state, "a flaw" if word == "fail" else "", None))  # type: ignore[arg-type]
            self._manifest(job_id, run.key, run.config, word)
        left = spec.runs[len(outcomes) :]
        outcomes += [RunOutcome(run.key, "skipped") for run in left]
        failed = any(outcome.state == "failed" for outcome in outcomes)
        stopped = self.stops[job_id].is_set()
        state, code = ("stopped", 143) if stopped else ("failed", 1) if failed else ("complete", 0)
        write_summary(uri, JobSummary(job_id, state, code, "", tuple(outcomes)))  # type: ignore[arg-type]
        ended = {"stopped": JobState.STOPPED, "failed": JobState.FAILED, "complete": JobState.SUCCEEDED}[state]
        self._end(job_id, ended, "")

    def _manifest(self, job_id: str, key: str, config: object, word: str) -> None:
        status = {"fail": "failed", "empty": "empty"}.get(word, "done")
        rows = 10 if status == "done" else 0
        spec, listed = spec_digest(config), input_digest(config)  # type: ignore[arg-type]
        message = "a flaw" if word == "fail" else ""
        job_id = "another-a1" if word == "raced" else job_id
        state = PartitionState(key, status, spec, listed, rows, rows, 0, "run", job_id, RUN_S, message)  # type: ignore[arg-type]
        write_state(config.output.uri, state)  # type: ignore[attr-defined]

    def _end(self, job_id: str, state: JobState, message: str) -> None:
        self.spans[job_id].append(time.monotonic())
        self.jobs[job_id] = replace(self.jobs[job_id], state=state, message=message)
