"""Backfill: the due partitions of a source template as jobs, groups of partitions per job, a bounded number at once.

In: a `BackfillRequest`, a `RunConfig` whose source holds `{date}`, and where jobs run. Out: a `Grid`, shown to an
`Observer` whenever it changes. No state of its own: the manifests in the dataset tell what is done and the backend
tells what is running, so whatever happens to this process, the same call goes on.

The observer is called in the thread that called `run`. An exception there (Ctrl-C twice, a crash of the flow) leaves
the jobs running, for the next call to find; only `stop` stops them. Jobs of others that do the same are waited for and
never stopped by us: who began one stops it, or `hanclip jobs stop`. Should one end early, one of ours does the rest.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty

from flows.backfill.events import Advanced, Began, Ended, Event, GivenUp, Logged, Outcome
from flows.backfill.grid import Grid, Row, first_grid
from flows.backfill.lanes import FAILED, STOPPED, Batch, Lanes
from flows.backfill.request import BackfillRequest
from flows.jobs.attach import with_retries
from flows.jobs.contract import APP, JobBackend, JobStatus
from flows.jobs.target import TargetConfig
from pipeline import storage
from pipeline.config import RunConfig
from pipeline.errors import ConfigError, NotFoundError
from pipeline.jobs.folder import JobProgress, JobRun, job_uri, read_job
from pipeline.partitions.due import Verdict, due, judge
from pipeline.partitions.template import partitions, read_states

_TURN_S = 0.5


class Observer:
    """Sees a backfill go; override what is of use."""

    #: Whether the jobs' logs are to be fetched.
    wants_log = False

    def grid(self, grid: Grid) -> None:
        """A row changed."""

    def job(self, status: JobStatus) -> None:
        """A job began, was found running, or ended."""

    def progress(self, job_id: str, progress: JobProgress) -> None:
        """How far a job is."""

    def log(self, job_id: str, text: str) -> None:
        """More of a job's log."""


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """What is to be run: the chosen partitions in order, and the grid that tells why."""

    chosen: tuple[Verdict, ...]
    grid: Grid


def plan(request: BackfillRequest, config: RunConfig) -> BackfillPlan:
    """Compare the request with the manifests of the output; starts nothing.

    Raises:
        ConfigError: the source is no template, or does not fit the partitions asked for.
        StorageError: the manifests cannot be read.
    """
    if not config.output.uri:
        raise ConfigError("output.uri is not set: say where the dataset goes.")
    if config.source.whole_catalog:
        raise ConfigError(
            "--whole-catalog does not fit a backfill: each partition would call the others' ids gone. Leave it out."
        )
    wanted = partitions(config, request.chosen_keys())
    verdicts = judge(wanted, read_states(config.output.uri), request.reprocess)
    chosen = due(verdicts, request.order, request.limit)
    return BackfillPlan(tuple(chosen), first_grid(verdicts, chosen))


@dataclass
class Backfill:
    """One backfill. `run` returns when all is over; `stop` may be called from any thread.

    Attributes:
        request, config: what to run.
        target, backend: where jobs run.
        observer: sees it go.
        flow_run_id: of the Prefect flow run that asks, which owns the jobs and finds its own again; else None. Jobs
            of a flow run that is over are orphans to the flow `reap`, so nothing but Prefect's ids belongs here.
        should_stop: asked twice a second.
    """

    request: BackfillRequest
    config: RunConfig
    target: TargetConfig
    backend: JobBackend
    observer: Observer = field(default_factory=Observer)
    flow_run_id: str | None = None
    should_stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self._stop_asked = False
        self._lanes: Lanes | None = None

    def run(self) -> Grid:
        """Run what is due and wait for it; the grid at the end, whose `exit_code` is the backfill's."""
        # Before the manifests are read, or a job that ends in between would be neither running nor done.
        running = [] if self.request.dry_run else self._running()
        planned = plan(self.request, self.config)
        self._grid = planned.grid
        if self.at_once < min(self.request.max_active, -(-len(planned.chosen) // self.request.group)):
            self._grid = self._grid.noted("Jobs in this process run one at a time: max_active has no effect here.")
        self.observer.grid(self._grid)
        if self.request.dry_run or not planned.chosen:
            return self._grid
        self._lanes = lanes = self._make_lanes(planned.chosen, running)
        if self._stop_asked:
            lanes.stop()
        lanes.start(min(self.at_once, len(lanes.batches)))
        try:
            while lanes.busy:
                self._turn(lanes)
        finally:
            lanes.detached.set()
        self._sweep(lanes)
        return self._grid

    def stop(self) -> None:
        """Start no further job and stop those of this backfill; `run` returns when they are over."""
        if not self._stop_asked:
            self._stop_asked = True
            if self._lanes is not None:
                self._lanes.stop()

    @property
    def at_once(self) -> int:
        """Jobs at once: one where they run in this process, which has one Ray."""
        return 1 if self.target.backend == "local" else self.request.max_active

    def _make_lanes(self, chosen: Sequence[Verdict], running: Sequence[JobStatus]) -> Lanes:
        out = storage.normalise(self.config.output.uri)
        runs = {verdict.key: JobRun(verdict.key, verdict.partition.config) for verdict in chosen}
        batches = deque(self._cut(runs, running))
        owner = {"backfill_id": self.flow_run_id or uuid.uuid4().hex}
        if self.flow_run_id:
            owner["flow_run_id"] = self.flow_run_id
        return Lanes(self.backend, self.target, out, owner, runs, batches, self.observer.wants_log)

    def _running(self) -> list[JobStatus]:
        """Jobs over partitions of this output that are not over, whoever started them."""
        out = storage.normalise(self.config.output.uri)
        found = with_retries(partial(self.backend.find, app=APP), self.target)
        return [job for job in found if not job.state.over and _out(job) == out]

    def _cut(self, runs: Mapping[str, JobRun], running: Sequence[JobStatus]) -> list[Batch]:
        """What running jobs do already just as we would, and groups of the rest."""
        keys, found = list(runs), list[Batch]()
        for job in running:
            theirs = self._runs_of(job)
            taken = tuple(key for key in keys if _alike(theirs.get(key), runs[key].config))
            if taken:
                found.append(Batch(taken, job.job_id))
                keys = [key for key in keys if key not in taken]
        size = self.request.group
        return found + [Batch(tuple(keys[at : at + size])) for at in range(0, len(keys), size)]

    def _runs_of(self, job: JobStatus) -> dict[str, RunConfig]:
        """What a job was asked to do, by partition; nothing where its folder does not tell."""
        try:
            asked = read_job(job_uri(_out(job), job.job_id))
        except (NotFoundError, ConfigError):
            return {}
        return {run.key: run.config for run in asked.runs}

    def _turn(self, lanes: Lanes) -> None:
        if self.should_stop():
            self.stop()
        try:
            event = lanes.events.get(timeout=_TURN_S)
        except Empty:
            return
        self._take(event)
        if self.request.fail_fast and self._grid.tally()["failed"]:
            self.stop()

    def _take(self, event: Event) -> None:
        if isinstance(event, Began):
            self._update(replace(self._grid.of(key), status="queued", job=event.status.job_id) for key in event.keys)
            self.observer.job(event.status)
        elif isinstance(event, Advanced):
            self._update(self._advanced(event))
            self.observer.progress(event.job_id, event.progress)
        elif isinstance(event, Ended):
            self._update(map(self._ended, event.outcomes))
            self.observer.job(event.status)
        elif isinstance(event, GivenUp):
            self._update(self._failed(key, event.message) for key in event.keys if not self._over(key))
        elif isinstance(event, Logged):
            self.observer.log(event.job_id, event.text)
        else:
            self._grid = self._grid.noted(f"{event.job_id} could not be stopped: {event.message}")
            self.observer.grid(self._grid)

    def _advanced(self, event: Advanced) -> list[Row]:
        rows = [self._ended(outcome) for outcome in event.outcomes]
        return rows + ([replace(self._grid.of(event.running), status="running")] if event.running else [])

    def _ended(self, outcome: Outcome) -> Row:
        row = self._grid.of(outcome.key)
        if outcome.state is not None:
            row = row.with_state(outcome.state)
        return replace(row, status=outcome.status, message=outcome.message, exit_code=outcome.exit_code)

    def _failed(self, key: str, message: str) -> Row:
        return replace(self._grid.of(key), status="failed", message=message, exit_code=FAILED)

    def _over(self, key: str) -> bool:
        return self._grid.of(key).status in ("done", "empty", "failed")

    def _sweep(self, lanes: Lanes) -> None:
        """Rows that no lane came to are stopped; without a stop, their lane died of an error of ours."""
        left = [row for row in self._grid.rows if row.status in ("waiting", "queued", "running")]
        if lanes.stopping.is_set():
            self._update(replace(row, status="stopped", message="Not begun.", exit_code=STOPPED) for row in left)
        else:
            self._update(self._failed(row.key, "Nobody watches it any more: see the traceback above.") for row in left)

    def _update(self, rows: Iterable[Row]) -> None:
        newer = self._grid.replaced(rows)
        if newer != self._grid:
            self._grid = newer
            self.observer.grid(newer)


def _out(job: JobStatus) -> str:
    out = job.metadata.get("out")
    return storage.normalise(out) if out else ""


def _alike(theirs: RunConfig | None, ours: RunConfig) -> bool:
    """Whether a job's run is the one that we want, on however many actors."""
    return theirs is not None and theirs.model_copy(update={"cluster": ours.cluster}) == ours
