"""Adds up what the workers report: totals, rates of the recent past, how busy each stage was, and its bottleneck.

Comes in: one `Stats` per finished call. Goes out: `Progress` for people and machines, and Ray metrics.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from actors.scheduler.metrics import Metrics
from pipeline.jobs.progress import Progress, StageProgress, State
from pipeline.records import Shard
from pipeline.stats import Stats

if TYPE_CHECKING:
    from actors.scheduler.pool import Pools
    from pipeline.records import Written

#: What is counted as it is done, also in shards that are not committed yet.
_OF_WORK = ("bytes_read", "read_s", "decode_s", "embed_s", "write_s", "texts", "texts_too_long", "texts_encoded")
_WINDOW_S = 30.0
#: A rate is of at least so long: the first chunk, a moment after the beginning, tells no rate.
_LEAST_S = 2.0
#: So long records flow before the time left is told: until then the rate is that of the first chunks.
_STEADY_S = 10.0


class Rate:
    """Units per second over the last `_WINDOW_S` seconds."""

    def __init__(self) -> None:
        self._events: deque[tuple[float, float]] = deque()
        self._began_s = time.monotonic()

    def add(self, amount: float) -> None:
        """Count `amount` now."""
        self._events.append((time.monotonic(), amount))

    def per_s(self) -> float:
        """The rate; of the whole time while that is shorter than the window."""
        now = time.monotonic()
        while self._events and now - self._events[0][0] > _WINDOW_S:
            self._events.popleft()
        span_s = min(_WINDOW_S, max(now - self._began_s, _LEAST_S))
        return sum(amount for _, amount in self._events) / span_s


class Meter:
    """Counts of one run.

    `stats` holds what is committed, so it never promises more than the dataset holds; the stages' seconds count all
    work, also that of shards under way.
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
        self._rates: dict[str, Rate] = {}
        self._bytes = Rate()
        self._began_s = time.monotonic()
        self._first_work_s: float | None = None
        self._embedding_s: float | None = None
        self._levels_sent_s = 0.0
        self.rows_elsewhere = 0
        self.rows_done = 0
        self.work = Stats()
        self._actors: Mapping[str, int] = {}
        self._queued: Mapping[str, int] = {}

    def state(self, state: State) -> None:
        """Enter a new state."""
        self._progress = replace(self._progress, state=state)

    def stage(self, kind: str, rows: int, stats: Stats) -> None:
        """A chunk of `rows` records passed the stage `kind`."""
        if self._first_work_s is None:
            self._first_work_s = time.monotonic() - stats.read_s - stats.decode_s
        if kind == "embed" and self._embedding_s is None:
            self._embedding_s = time.monotonic() - stats.embed_s
        self.work += stats
        self._rate(kind).add(rows)
        self._bytes.add(stats.bytes_read)
        self._metrics.stage(kind, rows, stats)

    def committed(self, shard: Shard, written: Written) -> None:
        """A shard was committed, here or elsewhere."""
        self._rate("write").add(shard.rows)
        self.work += Stats(write_s=written.stats.write_s, bytes_written=written.stats.bytes_written)
        self._metrics.stage("write", shard.rows, written.stats)
        self.rows_done += shard.rows
        if written.elsewhere:
            self.rows_elsewhere += shard.rows
        counted = written.stats
        stats = self._progress.stats + Stats(
            embedded=counted.embedded, quarantined=counted.quarantined, bytes_written=counted.bytes_written
        )
        self._progress = replace(self._progress, stats=stats, shards_done=self._progress.shards_done + 1)
        self._metrics.committed(counted)

    def replaced(self) -> None:
        """An actor was replaced."""
        self._progress = replace(self._progress, actors_replaced=self._progress.actors_replaced + 1)
        self._metrics.replaced()

    def levels(self, queued: Mapping[str, int], inflight_bytes: int, pools: Pools) -> None:
        """Note how much is in flight and who is alive."""
        self._queued = queued
        self._actors = {
            "decode": pools.decoders.ready,
            "embed": pools.embedders.ready,
            "write": pools.writers.ready,
        }
        waiting_for = _not_ready(pools)
        self._progress = replace(self._progress, inflight_bytes=inflight_bytes, waiting_for=waiting_for)
        if self._progress.state == "starting" and not waiting_for:
            self.state("running")
        if time.monotonic() - self._levels_sent_s >= 1.0:
            self._levels_sent_s = time.monotonic()
            self._metrics.levels(queued, inflight_bytes, self._actors)

    def close(self) -> None:
        """Set the levels to zero: the process may live on, and whoever scrapes it must not see actors that are gone."""
        if self._levels_sent_s:
            nothing = dict.fromkeys(self._queued, 0)
            self._metrics.levels(nothing, 0, nothing)

    def progress(self) -> Progress:
        """The run right now."""
        rate = self._rate("embed").per_s()
        left = self._progress.rows_planned - self.rows_done
        steady = self._progress.state == "running" and rate > 0 and self.flowing_s() >= _STEADY_S
        work = self.work
        stats = replace(
            self._progress.stats,
            **{name: getattr(work, name) for name in _OF_WORK},
        )
        return replace(
            self._progress,
            elapsed_s=time.monotonic() - self._began_s,
            stats=stats,
            stages=tuple(self._stages()),
            records_per_s=rate,
            bytes_per_s=self._bytes.per_s(),
            eta_s=left / rate if steady else None,
        )

    def flowing_s(self) -> float:
        """Seconds since the first chunk was embedded: the time before, in which the model was loaded, is start-up."""
        return 0.0 if self._embedding_s is None else time.monotonic() - self._embedding_s

    def working_s(self) -> float:
        """Seconds since the first chunk was begun, without the start of Ray and the loading of the model."""
        return 0.0 if self._first_work_s is None else time.monotonic() - self._first_work_s

    def busy(self) -> dict[str, float]:
        """Share of their time that the actors of each stage worked since the first chunk, 0 to 1."""
        if self._first_work_s is None:
            return {}
        span_s = max(self.working_s(), 1e-3)
        seconds = {
            "read": self.work.read_s,
            "decode": self.work.decode_s,
            "embed": self.work.embed_s,
            "write": self.work.write_s,
        }
        return {
            name: min(1.0, value / span_s / max(1, self._actors.get("decode" if name == "read" else name, 1)))
            for name, value in seconds.items()
        }

    def _stages(self) -> Iterable[StageProgress]:
        for name, busy in self.busy().items():
            role = "decode" if name == "read" else name
            yield StageProgress(
                name,
                actors=self._actors.get(role, 0),
                busy=busy,
                records_per_s=self._rate(role).per_s(),
                queued=self._queued.get(role, 0),
            )

    def _rate(self, kind: str) -> Rate:
        return self._rates.setdefault(kind, Rate())


def _not_ready(pools: Pools) -> str:
    """The crew that holds the others up because none of it is ready yet; empty when all crews work."""
    crews = {
        "the decoders to start": pools.decoders,
        "the embedders to load the model": pools.embedders,
        "the writers to start": pools.writers,
    }
    return next((what for what, pool in crews.items() if not pool.ready), "")
