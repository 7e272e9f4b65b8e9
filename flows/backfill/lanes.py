"""The lanes of a backfill: threads that run one job after another and report events.

In: batches of partitions, and where jobs run. Out: events in a queue that the backfill's own thread reads. A lane does
not know the grid. It may be abandoned at any time, because jobs are found again by their ids.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue

from flows.backfill.batches import Batch
from flows.backfill.events import (
    Event,
    GivenUp,
    JobAdvanced,
    JobEnded,
    JobLogged,
    JobStarted,
    PartitionOutcome,
    StopFailed,
)
from flows.jobs.attach import ensure, watch, with_retries
from flows.jobs.contract import APP, JobBackend, JobSpec, JobState, JobStatus
from flows.jobs.errors import TransientJobError
from flows.jobs.ids import attempt_of, job_id_base
from flows.jobs.target import TargetConfig
from pipeline.errors import HanclipError
from pipeline.jobs.folder import read_summary
from pipeline.jobs.job import JobProgress, JobRun, RunOutcome
from pipeline.partitions.manifests import STATUS_AFTER, PartitionState, PartitionStatus, read_state

FLOW = "backfill"
FAILED, STOPPED = 1, 143


@dataclass
class Lanes:
    """What all lanes share.

    Attributes:
        backend, target, out: where jobs run, and where their folders are.
        owner: the owner of the jobs, as metadata: `backfill_id`, and `flow_run_id` for jobs of a flow run.
        runs: the run of each partition.
        batches: not started yet.
        wants_log: whether to fetch the jobs' logs.
        events: from all lanes.
        stopping: start no further job. Set by `stop`, which also stops the jobs; when a user stops one of our jobs; and
            when a job can no longer be watched, since it may still run and count against `max_active`.
        detached: start no further job; running jobs continue.
    """

    backend: JobBackend
    target: TargetConfig
    out: str
    owner: Mapping[str, str]
    runs: Mapping[str, JobRun]
    batches: deque[Batch]
    wants_log: bool = False
    events: SimpleQueue[Event] = field(default_factory=SimpleQueue)
    stopping: threading.Event = field(default_factory=threading.Event)
    detached: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._own_jobs: set[str] = set()
        self._threads: list[threading.Thread] = []

    def start(self, count: int) -> None:
        """Start work on at most `count` jobs at once."""
        self._threads = [threading.Thread(target=self._lane, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def busy(self) -> bool:
        """Whether more events may come."""
        return any(thread.is_alive() for thread in self._threads) or not self.events.empty()

    def stop(self) -> None:
        """Start no further job and stop those of this backfill, without waiting for them."""
        self.stopping.set()
        for job_id in list(self._own_jobs):
            threading.Thread(target=self._stop_job, args=(job_id,), daemon=True).start()

    def _lane(self) -> None:
        while not self._leaving:
            try:
                batch = self.batches.popleft()
            except IndexError:
                return
            try:
                self._run_batch(batch)
            except HanclipError as error:
                self.events.put(GivenUp(batch.keys, str(error)))

    @property
    def _leaving(self) -> bool:
        return self.stopping.is_set() or self.detached.is_set()

    def _run_batch(self, batch: Batch) -> None:
        """Run jobs until each partition has an outcome; each attempt takes what the previous one left."""
        keys, adopted, tried = batch.keys, batch.adopted, 0
        while keys and not self._leaving:
            status = self._start_job(batch, keys, adopted, tried)
            own = status.job_id in self._own_jobs
            self.events.put(JobStarted(status, keys))
            last = status if status.state.over else self._watch(status, keys)
            outcomes = self._outcomes(keys, last)
            if last.state is JobState.STOPPED and own and not status.state.over:
                # A user stopped it, and does not expect the next group to start.
                self.stopping.set()
            self.events.put(JobEnded(last, outcomes))
            keys = tuple(outcome.key for outcome in outcomes if outcome.status == "stopped")
            tried = 0 if adopted else attempt_of(status.job_id)
            adopted = ""
            if keys and last.timed_out and own:
                self.events.put(GivenUp(keys, last.message))
                return
            if keys and tried >= self.target.max_attempts:
                self.events.put(GivenUp(keys, f"No attempt is left: {last.message}"))
                return

    def _start_job(self, batch: Batch, keys: Sequence[str], adopted: str, tried: int) -> JobStatus:
        with self._stopping_on(TransientJobError):
            status = with_retries(partial(self.backend.status, adopted), self.target) if adopted else None
            own = status is None or status.metadata.get("backfill_id") == self.owner["backfill_id"]
            if status is None:
                status = ensure(self.backend, self._spec(batch, keys), self.target, tried)
        if own:
            self._own_jobs.add(status.job_id)
            if self.stopping.is_set():
                self._stop_job(status.job_id)
        return status

    @contextmanager
    def _stopping_on(self, error: type[HanclipError]) -> Iterator[None]:
        """After such an error a job may run unwatched; starting another could exceed `max_active`."""
        try:
            yield
        except error:
            self.stopping.set()
            raise

    def _spec(self, batch: Batch, keys: Sequence[str]) -> JobSpec:
        digest = hashlib.sha256(",".join(batch.keys).encode()).hexdigest()[:6]
        owner = {"app": APP, "flow": FLOW, **self.owner, "out": self.out}
        return JobSpec(
            job_id_base(FLOW, self.owner["backfill_id"], f"{batch.keys[0]}-{digest}"),
            self.out,
            tuple(self.runs[key] for key in keys),
            {**owner, "keys": ",".join(keys)},
        )

    def _watch(self, status: JobStatus, keys: Sequence[str]) -> JobStatus:
        job_id, in_job = status.job_id, status.metadata.get("keys")
        order = in_job.split(",") if in_job else list(keys)

        def on_progress(progress: JobProgress) -> None:
            states = [read_state(self.out, key) for key in order[: progress.run] if key in keys]
            known = tuple(_of_manifest(state, None) for state in states if state and state.job_id == job_id)
            now = order[progress.run] if progress.state == "running" and progress.run < len(order) else None
            self.events.put(JobAdvanced(job_id, progress, now if now in keys else None, known))

        def on_log(text: str) -> None:
            self.events.put(JobLogged(job_id, text))

        with self._stopping_on(HanclipError):
            return watch(self.backend, job_id, self.out, self.target, on_log if self.wants_log else None, on_progress)

    def _outcomes(self, keys: Sequence[str], status: JobStatus) -> tuple[PartitionOutcome, ...]:
        """The partitions of a job that is over: from their manifests, else its summary, else its status."""
        summary = read_summary(self.out, status.job_id)
        runs = {run.key: run for run in summary.runs} if summary else {}
        return tuple(self._outcome(key, status, runs.get(key)) for key in keys)

    def _outcome(self, key: str, status: JobStatus, run: RunOutcome | None) -> PartitionOutcome:
        state = read_state(self.out, key)
        if state is not None and state.job_id == status.job_id:
            return _of_manifest(state, run)
        if run is not None and run.state in STATUS_AFTER:
            # The manifest could not be written, or another job wrote a later one for the same partition.
            ended = STATUS_AFTER[run.state]
            return PartitionOutcome(key, ended, _exit_code(ended, run), run.message)
        return PartitionOutcome(key, "stopped", STOPPED, (run and run.message) or status.message)

    def _stop_job(self, job_id: str) -> None:
        try:
            self.backend.stop(job_id)
        except HanclipError as error:
            self.events.put(StopFailed(job_id, str(error)))


def _of_manifest(state: PartitionState, run: RunOutcome | None) -> PartitionOutcome:
    return PartitionOutcome(state.key, state.status, _exit_code(state.status, run), state.message, state)


def _exit_code(status: PartitionStatus, run: RunOutcome | None) -> int:
    return FAILED if status == "failed" else run.summary.exit_code if run and run.summary else 0
