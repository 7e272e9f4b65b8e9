"""Counters and gauges in Ray's metrics, which Prometheus scrapes: the only place that names them.

Every metric has the label `run_id`; those of a stage also have `stage` (read, decode, embed, write). Ray takes a tenth
of a millisecond to increase a counter, so counts of calls are added up here and sent together with the gauges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge

from actors.scheduler.stages import STAGES, CallKind
from pipeline.stats import Stats

_RUN = ("run_id",)
_STAGE = ("run_id", "stage")


class Metrics:
    """The metrics of one run."""

    def __init__(self, run_id: str) -> None:
        run = {"run_id": run_id}
        self._unsent: dict[tuple[Counter, str], float] = defaultdict(float)
        self._stage_records = _counter("hanclip_stage_records", "Records that passed a stage.", _STAGE, run)
        self._stage_seconds = _counter("hanclip_stage_seconds", "Seconds that a stage's actors worked.", _STAGE, run)
        self._bytes = _counter("hanclip_bytes", "Bytes read from the source or written.", _STAGE, run)
        self._embedded = _counter("hanclip_records_embedded", "Records committed with vectors.", _RUN, run)
        self._quarantined = _counter(
            "hanclip_records_quarantined", "Records committed as quarantine.", ("run_id", "reason"), run
        )
        self._shards = _counter("hanclip_shards_committed", "Shards committed.", _RUN, run)
        self._replaced = _counter("hanclip_actors_replaced", "Actors that died and were replaced.", _RUN, run)
        self._queued = _gauge("hanclip_stage_queued", "Calls handed to a stage and not finished.", _STAGE, run)
        self._actors = _gauge("hanclip_stage_actors", "Actors ready for work.", _STAGE, run)
        self._inflight = _gauge("hanclip_inflight_bytes", "Decoded bytes not yet embedded.", _RUN, run)

    def call_done(self, call: CallKind, rows: int, stats: Stats) -> None:
        """Count a finished call over `rows` records, and the work of each of its stages."""
        self._unsent[self._stage_records, call] += rows
        for stage in STAGES:
            self._unsent[self._stage_seconds, stage.name] += stage.seconds(stats)
        self._unsent[self._bytes, "read"] += stats.bytes_read
        self._unsent[self._bytes, "write"] += stats.bytes_written

    def committed(self, stats: Stats) -> None:
        """Count the records of a committed shard."""
        self._shards.inc()
        _add(self._embedded, stats.embedded)
        for reason, count in stats.quarantined.items():
            _add(self._quarantined, count, reason=reason)

    def replaced(self) -> None:
        """Count a replaced actor."""
        self._replaced.inc()

    def levels(self, queued: Mapping[CallKind, int], inflight_bytes: int, actors: Mapping[CallKind, int]) -> None:
        """Set the gauges, and send the counts of the calls that have finished since the last time."""
        for (counter, stage), value in self._unsent.items():
            _add(counter, value, stage=stage)
        self._unsent.clear()
        for call, count in queued.items():
            self._queued.set(count, tags={"stage": call})
        for call, count in actors.items():
            self._actors.set(count, tags={"stage": call})
        self._inflight.set(inflight_bytes)


def _counter(name: str, description: str, tags: tuple[str, ...], run: dict[str, str]) -> Counter:
    counter = Counter(name, description=description, tag_keys=tags)
    counter.set_default_tags(run)
    return counter


def _gauge(name: str, description: str, tags: tuple[str, ...], run: dict[str, str]) -> Gauge:
    gauge = Gauge(name, description=description, tag_keys=tags)
    gauge.set_default_tags(run)
    return gauge


def _add(counter: Counter, value: float, **tags: str) -> None:
    """Increase a counter; Ray's refuse zero."""
    if value > 0:
        counter.inc(value, tags=tags)
