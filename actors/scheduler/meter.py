"""Adds up what the workers report: totals, recent rates, and how busy each stage was.

In: one `Stats` per finished call. Out: `Progress` for displays and files, and Ray metrics.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace

from actors.scheduler.metrics import Metrics
from actors.scheduler.pool import Pool, Pools
from actors.scheduler.stages import CALLS, STAGES, WAITING_FOR, CallKind, Labour
from pipeline.jobs.progress import Progress, StageProgress, State, utc_now
from pipeline.records import CommittedShard, Shard
from pipeline.stats import Stats
from pipeline.vocabulary import VARYING_PASSES

#: Of records: counted when their shard is committed. All others are of work, which may be done twice.
_COMMITTED = (
    "embedded",
    "quarantined",
    "bytes_written",
    "images_truncated",
    "texts",
    "texts_too_long",
    "texts_unknown",
)
_WORK_FIELDS = tuple(count.name for count in fields(Stats) if count.name not in _COMMITTED)
_WINDOW_S = 30.0
#: Shortest span of a rate, so that the first chunk does not show as a peak.
_MIN_SPAN_S = 2.0
_CREW_CHANGES = 20
#: Of what an embedder's set-up returns: device, number format, towers with their kernels, the shape of its passes.
_COMPUTING = ("device", "compute_dtype", "towers", "passes")
#: Seconds of embedding before an ETA is reported: the rate of the first chunks is not representative.
_STEADY_S = 10.0


class Rate:
    """Units per second over the last `_WINDOW_S` seconds."""

    def __init__(self) -> None:
        self._events: deque[tuple[float, float]] = deque()
        self._sum = 0.0
        self._began_s = time.monotonic()

    def add(self, amount: float) -> None:
        """Count `amount` now."""
        self._events.append((time.monotonic(), amount))
        self._sum += amount

    def per_s(self) -> float:
        """The rate; until the window is full, over the whole time so far."""
        now = time.monotonic()
        while self._events and now - self._events[0][0] > _WINDOW_S:
            self._sum -= self._events.popleft()[1]
        span_s = min(_WINDOW_S, max(now - self._began_s, _MIN_SPAN_S))
        return self._sum / span_s


class Meter:
    """Counts of one run.

    The progress' counts of records hold what is committed, never more than the dataset; `work` also holds the seconds
    and bytes of open shards. `actors` are those that are ready, by kind of call.
    """

    def __init__(self, run_id: str, rows_planned: int, rows_already_done: int, shards_planned: int) -> None:
        self._progress = Progress(
            run_id,
            "starting",
            rows_planned=rows_planned,
            rows_already_done=rows_already_done,
            shards_planned=shards_planned,
        )
        self._metrics = Metrics(run_id)
        self._rates: dict[CallKind, Rate] = defaultdict(Rate)
        self._bytes = Rate()
        self._began_s = time.monotonic()
        self._first_work_s: float | None = None
        self._embedding_s: float | None = None
        self._levels_sent_s = 0.0
        self.rows_elsewhere = 0
        self.rows_done = 0
        self.work = Stats()
        self.actors: Mapping[CallKind, int] = {}
        self._actor_s: dict[CallKind, float] = defaultdict(float)
        self._levels_s = 0.0
        self._queued: Mapping[CallKind, int] = {}

    @property
    def current_state(self) -> State:
        """What the run is doing."""
        return self._progress.state

    def state(self, state: State) -> None:
        """Enter a new state."""
        self._progress = replace(self._progress, state=state)

    def chunk_done(self, call: CallKind, rows: int, stats: Stats) -> None:
        """Count a finished decode or embed call over `rows` records."""
        if self._first_work_s is None:
            self._levels_s = self._first_work_s = time.monotonic() - stats.read_s - stats.decode_s
        if call == "embed" and self._embedding_s is None:
            self._embedding_s = time.monotonic() - stats.embed_s
        self.work += stats
        self._rates[call].add(rows)
        self._bytes.add(stats.bytes_read)
        self._metrics.call_done(call, rows, stats)

    def committed(self, shard: Shard, committed: CommittedShard) -> None:
        """Count a shard that was committed, by this run or by another one."""
        stats = committed.stats
        self._rates["write"].add(shard.rows)
        self.work += Stats(write_s=stats.write_s, bytes_written=stats.bytes_written)
        self._metrics.call_done("write", shard.rows, stats)
        self.rows_done += shard.rows
        if committed.elsewhere:
            self.rows_elsewhere += shard.rows
        total = self._progress.stats + Stats(**{name: getattr(stats, name) for name in _COMMITTED})
        self._progress = replace(self._progress, stats=total, shards_done=self._progress.shards_done + 1)
        self._metrics.committed(stats)

    def replaced(self) -> None:
        """Count a replaced actor."""
        self._progress = replace(self._progress, actors_replaced=self._progress.actors_replaced + 1)
        self._metrics.replaced()

    def crew_changed(self, change: str) -> None:
        """Keep what changed in the number of actors, for displays."""
        changes = (*self._progress.crew_changes, change)[-_CREW_CHANGES:]
        self._progress = replace(self._progress, crew_changes=changes)

    def levels(self, queued: Mapping[CallKind, int], inflight_bytes: int, pools: Pools) -> None:
        """Record the queues, the bytes in flight and the actors that are ready."""
        self._queued = queued
        self._count_actor_time()
        self.actors = {call: pool.ready for call, pool in pools.items()}
        waiting_for = next((WAITING_FOR[call] for call, ready in self.actors.items() if not ready), "")
        self._progress = replace(
            self._progress,
            inflight_bytes=inflight_bytes,
            waiting_for=waiting_for,
            computing=_computing(pools["embed"]),
        )
        if self._progress.state == "starting" and not waiting_for:
            self.state("running")
        if time.monotonic() - self._levels_sent_s >= 1.0:
            self._levels_sent_s = time.monotonic()
            self._metrics.levels(queued, inflight_bytes, self.actors)

    def close(self) -> None:
        """Set the gauges to zero: the process may outlive the run, and its actors are gone."""
        if self._levels_sent_s:
            nothing = dict.fromkeys(self._queued, 0)
            self._metrics.levels(nothing, 0, nothing)

    def progress(self) -> Progress:
        """The run right now."""
        work = {name: getattr(self.work, name) for name in _WORK_FIELDS}
        return replace(
            self._progress,
            elapsed_s=time.monotonic() - self._began_s,
            stats=replace(self._progress.stats, **work),
            stages=tuple(self._stages()),
            records_per_s=self._rates["embed"].per_s(),
            bytes_per_s=self._bytes.per_s(),
            eta_s=self.eta_s(),
            at=utc_now(),
        )

    @property
    def rows_left(self) -> int:
        """Records without an outcome."""
        return self._progress.rows_planned - self.rows_done

    def eta_s(self) -> float | None:
        """Seconds left; None until the rate is steady."""
        rate = self._rates["embed"].per_s()
        steady = self._progress.state == "running" and rate > 0 and self.flowing_s() >= _STEADY_S
        return self.rows_left / rate if steady else None

    def flowing_s(self) -> float:
        """Seconds since the first embed call began; the time before, such as loading the model, is start-up."""
        return 0.0 if self._embedding_s is None else time.monotonic() - self._embedding_s

    def working_s(self) -> float:
        """Seconds since the first decode call began, without the start of Ray and its actors."""
        return 0.0 if self._first_work_s is None else time.monotonic() - self._first_work_s

    def busy(self) -> dict[str, float]:
        """Share of their time, 0 to 1, that each stage's actors worked since the first decode call, by stage name."""
        return {name: labour.busy for name, labour in self.labour().items()}

    def labour(self) -> dict[str, Labour]:
        """What the actors of each stage have done since the first decode call, by stage name; empty before it."""
        if self._first_work_s is None:
            return {}
        self._count_actor_time()
        return {stage.name: Labour(stage.seconds(self.work), self._actor_s[stage.call]) for stage in STAGES}

    def _count_actor_time(self) -> None:
        """Add the time since the last call: the number of actors may change at any time."""
        if self._first_work_s is None:
            return
        now_s = time.monotonic()
        for call in CALLS:
            self._actor_s[call] += (now_s - self._levels_s) * max(1, self.actors.get(call, 1))
        self._levels_s = now_s

    def _stages(self) -> Iterable[StageProgress]:
        busy = self.busy()
        for stage in STAGES if busy else ():
            yield StageProgress(
                stage.name,
                actors=self.actors.get(stage.call, 0),
                busy=busy[stage.name],
                records_per_s=self._rates[stage.call].per_s(),
                queued=self._queued.get(stage.call, 0),
            )


def _computing(embedders: Pool) -> tuple[str, ...]:
    """What computes the vectors, once for embedders that do it alike."""
    facts = (worker.facts for worker in embedders.workers if worker.facts)
    said = ([one[name] for name in _COMPUTING if one.get(name, VARYING_PASSES) != VARYING_PASSES] for one in facts)
    return tuple(dict.fromkeys(", ".join(values) for values in said))
