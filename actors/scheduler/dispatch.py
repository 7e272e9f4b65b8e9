"""The streaming scheduler: shards in, committed shards out, a bounded amount of data in flight, nothing lost.

    shards -> [chunks] -> decode -> embed -> (all chunks of a shard) -> write

Only references travel through here: a decoder's pixels go to an embedder through Ray's object store, the driver sees
counts. Knows nothing of images. Rules:

- A chunk is admitted to decoding while the bytes in flight and the chunks waiting for an embedder are below the limits.
- A failed call costs its chunk an attempt (`chunks.Chunk.after_failure`); its actor, if dead, is replaced.
- A write that fails is repeated with the same references.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray.exceptions import RayError

from actors.scheduler.backlog import Backlog, Limits
from actors.scheduler.chunks import Chunk, OpenShard
from actors.scheduler.failures import Cause, Patience, cause_of, describe
from actors.scheduler.meter import Meter
from actors.scheduler.pool import Pool, Pools, Worker
from pipeline.errors import RunError
from pipeline.records import Shard

logger = logging.getLogger(__name__)

_POLL_S = 0.5
_TELL_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call in flight: its kind, who does it, for which chunk or shard, and the large result's reference."""

    kind: Literal["setup", "decode", "embed", "write"]
    pool: Pool
    worker: Worker
    work: Any = None
    payload: Any = None
    deadline_s: float = float("inf")


class Dispatcher:
    """Feeds three pools until every shard is committed, or `stop_within` is called and its time is over."""

    def __init__(self, pools: Pools, limits: Limits, meter: Meter) -> None:
        self._pools = pools
        self._limits = limits
        self._meter = meter
        self._patience = Patience()
        self._calls: dict[Any, Call] = {}
        self._stop_at_s: float | None = None
        self._told_s = self._checked_s = time.monotonic()

    def run(self, shards: Iterator[Shard], poll: Callable[[], None]) -> None:
        """Commit all `shards`; calls `poll` at least twice a second.

        Raises:
            RunError: the fault is not in single records; what is committed stays.
        """
        self._backlog = Backlog(shards, self._limits)
        for pool in self._pools:
            for worker in pool.start():
                self._set_up(pool, worker)
        while not self._backlog.done:
            self._feed()
            self._wait()
            poll()
            self._tell_if_waiting()
            if self._stop_at_s is not None and time.monotonic() >= self._stop_at_s:
                return

    def _set_up(self, pool: Pool, worker: Worker) -> None:
        """Watch a set-up. It has no deadline: a cluster may take its time to find a place for an actor."""
        self._calls[worker.setup] = Call("setup", pool, worker)

    def _tell_if_waiting(self) -> None:
        """Say once a minute which crew does not come up: the cluster may lack what its actors ask for."""
        if time.monotonic() - self._told_s < _TELL_EVERY_S:
            return
        self._told_s = time.monotonic()
        for pool in self._pools:
            if not pool.ready:
                logger.warning(
                    "No %s is ready yet. If `ray status` shows pending demands, add nodes or lower --%ss.",
                    pool.role,
                    pool.role,
                )

    def stop_within(self, grace_s: float) -> None:
        """Open no more shards; go on for `grace_s` with those that are at least half embedded."""
        if self._stop_at_s is None:
            self._stop_at_s = time.monotonic() + grace_s
            self._backlog.wind_down()

    # --- feeding: latest stage first, so that what is nearly done leaves before more comes in -----------------------

    def _feed(self) -> None:
        backlog = self._backlog
        for pool in self._pools:
            pool.unreserve()
        while backlog.full and self._write(backlog.full[0]):
            backlog.full.popleft()
        while backlog.decoded and self._embed(*backlog.decoded[0]):
            backlog.decoded.popleft()
        while backlog.suspects and self._decode_alone(backlog.suspects[0]):
            backlog.suspects.popleft()
        while backlog.admits() and (worker := self._pools.decoders.pick(suspect=False)):
            chunk = backlog.next_chunk(worker)
            if chunk is None:
                break
            self._decode(chunk, worker)
        self._meter.levels(self._queued(), backlog.inflight_bytes, self._pools)

    def _decode_alone(self, chunk: Chunk) -> bool:
        worker = self._pools.decoders.pick(suspect=True)
        if worker is not None:
            self._decode(chunk, worker)
        return worker is not None

    def _decode(self, chunk: Chunk, worker: Worker) -> None:
        method = worker.handle.decode.options(num_returns=2)
        payload, report = method.remote(chunk.shard, chunk.start, chunk.stop)
        self._backlog.admit(chunk)
        self._submit(Call("decode", self._pools.decoders, worker, chunk, payload, self._deadline_s()), report)

    def _embed(self, chunk: Chunk, batch: Any) -> bool:
        worker = self._pools.embedders.pick(chunk.suspect)
        if worker is None:
            return False
        method = worker.handle.embed.options(num_returns=2)
        payload, report = method.remote(batch, chunk.shard.attempts + chunk.attempts + 1)
        self._submit(Call("embed", self._pools.embedders, worker, chunk, payload, self._deadline_s()), report)
        return True

    def _write(self, shard: OpenShard) -> bool:
        worker = self._pools.writers.pick(suspect=False)
        if worker is None:
            return False
        report = worker.handle.write.remote(shard.shard, shard.ordered_crashed(), *shard.ordered_parts())
        self._submit(Call("write", self._pools.writers, worker, shard, None, self._deadline_s()), report)
        return True

    def _submit(self, call: Call, report: Any) -> None:
        call.pool.take(call.worker, suspect=isinstance(call.work, Chunk) and call.work.suspect)
        self._calls[report] = call

    def _deadline_s(self) -> float:
        return time.monotonic() + self._limits.call_timeout_s

    # --- results ----------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=_POLL_S, fetch_local=False)
        self._end_overdue_calls()
        for reference in ready:
            call = self._calls.pop(reference)
            if call.kind != "setup":
                call.pool.release(call.worker)
            try:
                report = ray.get(reference)
            except RayError as error:
                self._failed(call, error)
            else:
                self._finished(call, report)

    def _finished(self, call: Call, report: Any) -> None:
        if call.kind == "setup":
            call.worker.ready = True
            self._patience.setup_done()
        elif call.kind == "write":
            self._backlog.close(call.work)
            self._meter.committed(call.work.shard, report)
        else:
            self._meter.stage(call.kind, call.work.rows, report)
            self._chunk_finished(call)

    def _chunk_finished(self, call: Call) -> None:
        chunk: Chunk = call.work
        shard = self._backlog.of(chunk)
        if call.kind == "decode" and shard is not None:
            self._backlog.decoded.append((chunk, call.payload))
            return
        self._backlog.release(chunk)
        if shard is not None:
            self._patience.chunk_done()
            shard.settle(chunk, call.payload)
            self._backlog.settled(shard)

    def _queued(self) -> dict[str, int]:
        decode, embed, write = (pool.calls for pool in self._pools)
        backlog = self._backlog
        return {
            "decode": decode + len(backlog.suspects),
            "embed": embed + len(backlog.decoded),
            "write": write + len(backlog.full),
        }

    # --- failures ---------------------------------------------------------------------------------------------------

    def _failed(self, call: Call, error: RayError) -> None:
        cause, seen = cause_of(error), describe(error)
        self._patience.failed(call.pool.role, call.kind, cause, seen)
        if (cause is Cause.DEATH or call.kind == "setup") and (replaced := call.pool.replace(call.worker, seen)):
            self._set_up(call.pool, replaced)
            self._meter.replaced()
        if call.kind == "write":
            self._write_failed(call.work, cause, seen)
        elif call.kind != "setup":
            self._backlog.release(call.work)
            self._chunk_failed(call.work, cause, seen)

    def _chunk_failed(self, chunk: Chunk, cause: Cause, seen: str) -> None:
        shard = self._backlog.of(chunk)
        if shard is None:
            return
        if cause in (Cause.LOST, Cause.OUTAGE):
            self._backlog.suspects.append(chunk)
            return
        again = chunk.after_failure()
        self._backlog.suspects.extend(again)
        if not again:
            shard.give_up(chunk, seen)
            self._backlog.settled(shard)

    def _write_failed(self, shard: OpenShard, cause: Cause, seen: str) -> None:
        if cause is Cause.LOST:
            shard.start_over()
        elif cause is Cause.OUTAGE or shard.write_failed():
            self._backlog.full.append(shard)
        else:
            raise RunError(f"Shard {shard.shard.shard_id} cannot be written: {seen}")

    def _end_overdue_calls(self) -> None:
        """End actors that hang, so that their chunk is tried elsewhere and a poison record is found."""
        now = time.monotonic()
        if now - self._checked_s < _POLL_S:
            return
        self._checked_s = now
        for call in self._calls.values():
            if now > call.deadline_s and not call.worker.dead:
                ray.kill(call.worker.handle, no_restart=True)
