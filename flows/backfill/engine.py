"""Runs the due partitions of a source template as jobs: a group of partitions per job, a limited number at once.

In: a `BackfillRequest`, a `RunConfig` with `{date}` in its source, and where jobs run. Out: a `Grid`, passed to an
`Observer` whenever it changes. A backfill keeps no state: the manifests in the dataset show what is done and the
backend what is running, so after a crash the same call continues.

The observer is called in the thread that called `run`. An exception there (Ctrl-C twice, a crash of the flow) leaves
the jobs running for the next call to find; only `stop` stops them. Jobs of other owners that do the same work are
waited for and never stopped: their owner stops them, or `hanclip jobs stop`. If one ends early, a job of this backfill
does the rest.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from queue import Empty

from flows.backfill.batches import batches_of, running_jobs
from flows.backfill.events import Event, GivenUp, JobAdvanced, JobEnded, JobLogged, JobStarted, PartitionOutcome
from flows.backfill.grid import Grid, GridRow
from flows.backfill.lanes import FAILED, STOPPED, Lanes
from flows.backfill.observer import Observer
from flows.backfill.plan import plan
from flows.backfill.request import BackfillRequest
from flows.jobs.contract import JobBackend, JobStatus
from flows.jobs.target import TargetConfig
from pipeline import storage
from pipeline.config import RunConfig
from pipeline.jobs.job import JobRun
from pipeline.partitions.due import Verdict
from pipeline.partitions.evidence import never_found

_TURN_S = 0.5


@dataclass
class Backfill:
    """One backfill. `run` returns when all jobs are over; `stop` may be called from any thread.

    Attributes:
        request, config: what to run.
        target, backend: where jobs run.
        observer: gets the grid, jobs, progress and logs.
        flow_run_id: of the Prefect flow run that owns the jobs and finds them again; else None. The flow `reap` stops
            jobs whose flow run is over, so no other ids belong here.
        should_stop: called twice a second.
    """

    request: BackfillRequest
    config: RunConfig
    target: TargetConfig
    backend: JobBackend
    observer: Observer = field(default_factory=Observer)
    flow_run_id: str | None = None
    should_stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self._stop_requested = False
        self._lanes: Lanes | None = None

    def run(self) -> Grid:
        """Run what is due and wait for it; the `exit_code` of the returned grid is the backfill's."""
        # Read before the manifests: otherwise a job that ends in between would seem neither running nor done.
        running = [] if self.request.dry_run else running_jobs(self.backend, self.target, self.config.output.uri)
        planned = plan(self.request, self.config)
        self._grid = planned.grid
        if self.at_once < min(self.request.max_active, -(-len(planned.chosen) // self.request.group)):
            self._grid = self._grid.with_note("Jobs in this process run one at a time: max_active has no effect here.")
        self.observer.grid(self._grid)
        if self.request.dry_run:
            return self._grid
        if not planned.chosen:
            return self._judged(planned.verdicts)
        self._lanes = lanes = self._make_lanes(planned.chosen, running)
        if self._stop_requested:
            lanes.stop()
        lanes.start(min(self.at_once, len(lanes.batches)))
        try:
            while lanes.busy:
                self._step(lanes)
        finally:
            lanes.detached.set()
        self._close_rows(lanes)
        return self._judged(planned.verdicts)

    def stop(self) -> None:
        """Start no further job and stop those of this backfill; `run` returns once they are over."""
        if not self._stop_requested:
            self._stop_requested = True
            if self._lanes is not None:
                self._lanes.stop()

    @property
    def at_once(self) -> int:
        """Jobs at once: one if they run in this process, which has one Ray connection."""
        return 1 if self.target.backend == "local" else self.request.max_active

    def _judged(self, verdicts: Sequence[Verdict]) -> Grid:
        """The grid at the end; a failure if no partition has files, now or ever before."""
        if self._grid.found_nothing:
            empty = [verdict.partition for verdict in verdicts if self._grid.of(verdict.key).status == "empty"]
            self._grid = replace(self._grid, failure=never_found(self.config, empty))
            self.observer.grid(self._grid)
        return self._grid

    def _make_lanes(self, chosen: Sequence[Verdict], running: Sequence[JobStatus]) -> Lanes:
        out = storage.normalise(self.config.output.uri)
        runs = {
            verdict.key: JobRun(verdict.key, verdict.partition.config, self.config.source.uris) for verdict in chosen
        }
        batches = deque(batches_of(runs, running, self.request.group))
        owner = {"backfill_id": self.flow_run_id or uuid.uuid4().hex}
        if self.flow_run_id:
            owner["flow_run_id"] = self.flow_run_id
        return Lanes(self.backend, self.target, out, owner, runs, batches, self.observer.wants_log)

    def _step(self, lanes: Lanes) -> None:
        if self.should_stop():
            self.stop()
        try:
            event = lanes.events.get(timeout=_TURN_S)
        except Empty:
            return
        self._handle(event)
        if self.request.fail_fast and self._grid.tally()["failed"]:
            self.stop()

    def _handle(self, event: Event) -> None:
        if isinstance(event, JobStarted):
            self._update(replace(self._grid.of(key), status="queued", job=event.status.job_id) for key in event.keys)
            self.observer.job(event.status)
        elif isinstance(event, JobAdvanced):
            self._update(self._advanced(event))
            self.observer.progress(event.job_id, event.progress)
        elif isinstance(event, JobEnded):
            self._update(map(self._ended, event.outcomes))
            self.observer.job(event.status)
        elif isinstance(event, GivenUp):
            self._update(self._failed(key, event.message) for key in event.keys if not self._over(key))
        elif isinstance(event, JobLogged):
            self.observer.log(event.job_id, event.text)
        else:
            self._grid = self._grid.with_note(f"{event.job_id} could not be stopped: {event.message}")
            self.observer.grid(self._grid)

    def _advanced(self, event: JobAdvanced) -> list[GridRow]:
        rows = [self._ended(outcome) for outcome in event.outcomes]
        return rows + ([replace(self._grid.of(event.running), status="running")] if event.running else [])

    def _ended(self, outcome: PartitionOutcome) -> GridRow:
        row = self._grid.of(outcome.key)
        if outcome.state is not None:
            row = row.with_state(outcome.state)
        return replace(row, status=outcome.status, message=outcome.message, exit_code=outcome.exit_code)

    def _failed(self, key: str, message: str) -> GridRow:
        return replace(self._grid.of(key), status="failed", message=message, exit_code=FAILED)

    def _over(self, key: str) -> bool:
        return self._grid.of(key).status in ("done", "empty", "failed")

    def _close_rows(self, lanes: Lanes) -> None:
        """Close the rows that no lane finished: stopped after a stop; otherwise their lane died of a bug."""
        left = [row for row in self._grid.rows if row.status in ("waiting", "queued", "running")]
        if lanes.stopping.is_set():
            self._update(replace(row, status="stopped", message="Not started.", exit_code=STOPPED) for row in left)
        else:
            self._update(
                self._failed(row.key, "Its lane died: see the traceback above, and run the same command again.")
                for row in left
            )

    def _update(self, rows: Iterable[GridRow]) -> None:
        changed = self._grid.with_rows(rows)
        if changed != self._grid:
            self._grid = changed
            self.observer.grid(changed)
