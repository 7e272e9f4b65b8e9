"""The lanes of a backfill: threads that see one job after another through and report what they learn as events.

In: batches of partitions, and where jobs run. Out: events, put into a queue that the backfill's own thread empties.
A lane knows no grid. It may be left behind at any moment: jobs are found again by the ids they carry.
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

from flows.backfill.events import Advanced, Began, Ended, Event, GivenUp, Logged, NotStopped, Outcome
from flows.jobs.attach import ensure, watch, with_retries
from flows.jobs.contract import APP, JobBackend, JobSpec, JobState, JobStatus
from flows.jobs.errors import TransientJobError
from flows.jobs.ids import attempt_of, job_id_base
from flows.jobs.target import TargetConfig
from pipeline.errors import HanclipError
from pipeline.jobs.folder import JobProgress, JobRun, RunOutcome, read_summary
from pipeline.partitions.template import PartitionState, Status, read_state

FLOW = "backfill"
FAILED, STOPPED = 1, 143
#: How a run ended, as a partition's status; a run that was stopped or not begun is none of these.
_TOLD: Mapping[str, Status] = {"complete": "done", "empty": "empty", "failed": "failed"}


@dataclass(frozen=True, slots=True)
class Batch:
    """Partitions of one job. `adopted` is the id of a job that runs already, else empty."""

    keys: tuple[str, ...]
    adopted: str = ""


@dataclass
class Lanes:
    """What all lanes share.

    Attributes:
        backend, target, out: where jobs run, where their folders are.
        owner: whose the jobs are, as metadata: `backfill_id`, and `flow_run_id` if a flow run asked for them.
        runs: the run of each partition.
        batches: still to be begun.
        wants_log: whether to fetch the jobs' logs.
        events: what the lanes learned.
        stopping: begin nothing more. `stop` sets it and stops the jobs. A job of ours that somebody else stopped sets
            it too, and so does one that cannot be watched, since it may run on and holds its place.
        detached: begin nothing more; the jobs go on.
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
        """Begin work on at most `count` jobs at once."""
        self._threads = [threading.Thread(target=self._lane, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def busy(self) -> bool:
        """Whether events may still come."""
        return any(thread.is_alive() for thread in self._threads) or not self.events.empty()

    def stop(self) -> None:
        """Begin nothing more and stop the jobs of this backfill, without waiting for them."""
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
                self._see_through(batch)
            except HanclipError as error:
                self.events.put(GivenUp(batch.keys, str(error)))

    @property
    def _leaving(self) -> bool:
        return self.stopping.is_set() or self.detached.is_set()

    def _see_through(self, batch: Batch) -> None:
        """Jobs until each partition has an outcome; each attempt takes what the one before left."""
        keys, adopted, tried = batch.keys, batch.adopted, 0
        while keys and not self._leaving:
            status = self._begin(batch, keys, adopted, tried)
            own = status.job_id in self._own_jobs
            self.events.put(Began(status, keys))
            last = status if status.state.over else self._watch(status, keys)
            outcomes = self._outcomes(keys, last)
            if last.state is JobState.STOPPED and own and not status.state.over:
                # Somebody wanted it to end; to go on with the next group would defy that.
                self.stopping.set()
            self.events.put(Ended(last, outcomes))
            keys = tuple(outcome.key for outcome in outcomes if outcome.status == "stopped")
            tried = 0 if adopted else attempt_of(status.job_id)
            adopted = ""
            if keys and last.timed_out and own:
                self.events.put(GivenUp(keys, last.message))
                return
            if keys and tried >= self.target.max_attempts:
                self.events.put(GivenUp(keys, f"No attempt is left: {last.message}"))
                return

    def _begin(self, batch: Batch, keys: Sequence[str], adopted: str, tried: int) -> JobStatus:
        with self._in_doubt(TransientJobError):
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
    def _in_doubt(self, error: type[HanclipError]) -> Iterator[None]:
        """After such an error a job may run that nobody watches: another one beside it could be one too many."""
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
        job_id, told = status.job_id, status.metadata.get("keys")
        order = told.split(",") if told else list(keys)

        def on_progress(progress: JobProgress) -> None:
            states = [read_state(self.out, key) for key in order[: progress.run] if key in keys]
            known = tuple(_of_manifest(state, None) for state in states if state and state.job_id == job_id)
            now = order[progress.run] if progress.state == "running" and progress.run < len(order) else None
            self.events.put(Advanced(job_id, progress, now if now in keys else None, known))

        def on_log(text: str) -> None:
            self.events.put(Logged(job_id, text))

        told_log = on_log if self.wants_log else None
        with self._in_doubt(HanclipError):
            return watch(self.backend, job_id, self.out, self.target, told_log, on_progress)

    def _outcomes(self, keys: Sequence[str], status: JobStatus) -> tuple[Outcome, ...]:
        """What a job that is over made of its partitions: its manifests, then its summary, then its own end."""
        summary = read_summary(self.out, status.job_id)
        told = {outcome.key: outcome for outcome in summary.runs} if summary else {}
        return tuple(self._outcome(key, status, told.get(key)) for key in keys)

    def _outcome(self, key: str, status: JobStatus, told: RunOutcome | None) -> Outcome:
        state = read_state(self.out, key)
        if state is not None and state.job_id == status.job_id:
            return _of_manifest(state, told)
        if told is not None and told.state in _TOLD:
            # The manifest could not be written, or another job over the same partition wrote a later one.
            return Outcome(key, _TOLD[told.state], _exit_code(_TOLD[told.state], told), told.message)
        return Outcome(key, "stopped", STOPPED, (told and told.message) or status.message)

    def _stop_job(self, job_id: str) -> None:
        try:
            self.backend.stop(job_id)
        except HanclipError as error:
            self.events.put(NotStopped(job_id, str(error)))


def _of_manifest(state: PartitionState, told: RunOutcome | None) -> Outcome:
    return Outcome(state.key, state.status, _exit_code(state.status, told), state.message, state)


def _exit_code(status: Status, told: RunOutcome | None) -> int:
    return FAILED if status == "failed" else int(((told and told.summary) or {}).get("exit_code", 0))
