"""The scheduler: shards in, committed shards out, with a bounded amount of data in flight.

    shards -> [chunks] -> decode -> embed -> (all chunks of a shard) -> write

Only references pass through here: pixels go from a decoder to an embedder through Ray's object store, and the driver
sees counts. Nothing here is specific to images. Rules:

- A chunk is admitted to decoding while the bytes in flight and the queues are below the limits.
- A failed call costs its chunk an attempt, unless its cause is in `failures.BLAMELESS`; a dead actor is replaced.
- A failed write is retried with the same references; if some of them are gone, their shard starts over.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import ray
from ray.exceptions import OutOfMemoryError, RayError

from actors.scheduler.backlog import Backlog, Limits
from actors.scheduler.chunks import Chunk, OpenShard
from actors.scheduler.failures import BLAMELESS, FailureBudget, FailureCause, cause_of, describe, with_cure
from actors.scheduler.meter import Meter
from actors.scheduler.placement import Placement
from actors.scheduler.pool import Call, Pool, Pools
from actors.scheduler.stages import CallKind
from actors.scheduler.worker import Worker
from pipeline.errors import RunError
from pipeline.records import Shard

logger = logging.getLogger(__name__)

_POLL_S = 0.5
#: Adding up the levels takes longer than a call, and displays are less frequent.
_LEVELS_EVERY_S = 0.1

_T = TypeVar("_T")


class Dispatcher:
    """Feeds the pools until every shard of its `backlog` is committed, or until `stop_within` is over.

    Args:
        pools: a pool for each kind of call.
        shards: the work, in order.
        limits: what may be in flight.
        meter: counts the results.
        oom_kills: number of processes here that the kernel has killed for lack of memory.
    """

    def __init__(
        self,
        pools: Pools,
        shards: Iterator[Shard],
        limits: Limits,
        meter: Meter,
        oom_kills: Callable[[], int] = lambda: 0,
    ) -> None:
        self._pools, self._limits, self._meter = pools, limits, meter
        self.backlog = Backlog(shards, limits)
        self._failures = FailureBudget(oom_kills, lambda: sum(pool.size for pool in pools.values()))
        self._placement = Placement(pools.values(), limits.placement_timeout_s)
        self._calls: dict[Any, Call] = {}
        self._stop_at_s: float | None = None
        self._checked_s = time.monotonic()
        self._levels_s = 0.0

    def run(self, poll: Callable[[], None], head_answers: Callable[[], bool] = lambda: True) -> None:
        """Commit all shards.

        Args:
            poll: called at least twice a second; may change the pools' sizes, and which workers leave.
            head_answers: whether Ray's head answers; may raise a RunError to end the run.

        Raises:
            RunError: the fault is not in single records; committed shards stay.
        """
        for pool in self._pools.values():
            for worker in pool.start():
                self._set_up(pool, worker)
        while not self.backlog.done:
            self.feed()
            self._wait()
            poll()
            if head_answers():
                self._placement.check()
                self._fill()
            if self._stop_at_s is not None and time.monotonic() >= self._stop_at_s:
                break
        self._report_levels()

    def _fill(self) -> None:
        """Start the actors that had to wait for a reserved place, or that the pools need since."""
        for pool in self._pools.values():
            for worker in pool.fill():
                self._set_up(pool, worker)

    def _set_up(self, pool: Pool, worker: Worker) -> None:
        """Wait for a set-up. It has no deadline: downloading a model may take long."""
        self._calls[worker.setup] = Call("setup", pool, worker)

    @property
    def memory_note(self) -> str:
        """How many processes were killed for lack of memory, with the cure; empty if none."""
        return self._failures.memory_note()

    def stop_within(self, grace_s: float) -> None:
        """Open no more shards, and continue for `grace_s` with those that are at least half embedded."""
        if self._stop_at_s is None:
            self._stop_at_s = time.monotonic() + grace_s
            self.backlog.wind_down()

    # --- feeding: the last stage first, so that nearly finished work leaves before more comes in --------------------

    def feed(self) -> None:
        """Hand over what is ready and finds an actor; `run` calls it whenever a call has ended."""
        backlog = self.backlog
        for pool in self._pools.values():
            pool.unreserve()
        _drain(backlog.full, self._write)
        # A suspect waits for an idle embedder; the others must not wait behind it.
        _drain(backlog.decoded_suspects, self._embed)
        _drain(backlog.decoded, self._embed)
        _drain(backlog.suspects, self._decode_alone)
        while backlog.admits() and (worker := self._pools["decode"].pick(suspect=False)):
            chunk = backlog.next_chunk(worker)
            if chunk is None:
                break
            self._decode(chunk, worker)
        if time.monotonic() - self._levels_s >= _LEVELS_EVERY_S:
            self._report_levels()

    def _report_levels(self) -> None:
        self._levels_s = time.monotonic()
        queued = {kind: pool.calls + self.backlog.waiting(kind) for kind, pool in self._pools.items()}
        self._meter.levels(queued, self.backlog.inflight_bytes, self._pools)

    def _decode_alone(self, chunk: Chunk) -> bool:
        worker = self._pools["decode"].pick(suspect=True)
        if worker is not None:
            self._decode(chunk, worker)
        return worker is not None

    def _decode(self, chunk: Chunk, worker: Worker) -> None:
        payload, report = worker.method("decode").remote(chunk.shard, chunk.start, chunk.stop)
        self.backlog.admit(chunk)
        self._submit("decode", worker, chunk, report, payload)

    def _embed(self, decoded: tuple[Chunk, Any]) -> bool:
        chunk, batch = decoded
        worker = self._pools["embed"].pick(chunk.suspect)
        if worker is None:
            return False
        payload, report = worker.method("embed").remote(batch, chunk.shard.attempts + chunk.attempts + 1)
        self._submit("embed", worker, chunk, report, payload)
        return True

    def _write(self, shard: OpenShard) -> bool:
        worker = self._pools["write"].pick(suspect=False)
        if worker is None:
            return False
        report = worker.handle.write.remote(shard.shard, shard.ordered_crashed(), *shard.ordered_parts())
        self._submit("write", worker, shard, report)
        return True

    def _submit(self, kind: CallKind, worker: Worker, work: Any, report: Any, payload: Any = None) -> None:
        pool = self._pools[kind]
        call = Call(kind, pool, worker, work, payload, time.monotonic() + self._limits.call_timeout_s)
        pool.take(worker, isinstance(work, Chunk) and work.suspect, call.rows)
        self._calls[report] = call

    # --- results ----------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        if not self._calls:  # All actors are gone, and others start once the head answers. `ray.wait` returns at once.
            time.sleep(_POLL_S)
        ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=_POLL_S, fetch_local=False)
        self._kill_overdue()
        for reference in ready:
            call = self._calls.pop(reference)
            if call.kind != "setup":
                call.pool.release(call.worker, call.rows)
            try:
                report = ray.get(reference)
            except RayError as error:
                self.failed(call, error)
            else:
                self._finished(call, report)

    def _finished(self, call: Call, report: Any) -> None:
        if call.kind == "setup":
            call.worker.ready, call.worker.facts = True, report
            self._failures.setup_done()
        elif call.kind == "write":
            self.backlog.close(call.work)
            self._meter.committed(call.work.shard, report)
        else:
            self._meter.chunk_done(call.kind, call.work.rows, report)
            if call.kind == "decode":
                self.backlog.chunk_decoded(call.work, call.payload)
            elif self.backlog.chunk_embedded(call.work, call.payload):
                self._failures.chunk_done()

    # --- failures ---------------------------------------------------------------------------------------------------

    def failed(self, call: Call, error: RayError) -> None:
        """Replace the actor if it died, and retry the work of the call, which is in flight no longer."""
        cause, message = cause_of(error), describe(error)
        if call.worker.leaving and cause is FailureCause.DEATH:
            cause = FailureCause.LEFT
        if not call.worker.dead:  # All calls in flight on an actor fail when it dies, which is one failure.
            self._failures.failed(call.pool.role, call.kind, cause, message, isinstance(error, OutOfMemoryError))
        died = cause is FailureCause.DEATH or call.kind == "setup"
        if cause is FailureCause.LEFT:
            call.pool.discard(call.worker)
        elif died and (replacement := call.pool.replace(call.worker, message)):
            self._set_up(call.pool, replacement)
            self._meter.replaced()
        if call.kind == "write":
            self._write_failed(call.work, cause, message)
        elif call.kind != "setup":
            self.backlog.chunk_failed(call.work, message, costs_attempt=cause not in BLAMELESS)

    def _write_failed(self, shard: OpenShard, cause: FailureCause, message: str) -> None:
        """Write it again, for a bounded number of times if what happened may happen each time."""
        if (cause is FailureCause.FULL or cause not in BLAMELESS) and not shard.write_failed():
            raise RunError(f"Shard {shard.shard.shard_id} cannot be written: {with_cure(cause, message)}")
        self.backlog.write_again(shard, anew=cause in (FailureCause.LOST, FailureCause.FULL))

    def _kill_overdue(self) -> None:
        """Kill actors whose call is overdue, so that their chunk is retried and a poison record is found."""
        now = time.monotonic()
        if now - self._checked_s < _POLL_S:
            return
        self._checked_s = now
        for call in self._calls.values():
            if now > call.deadline_s and not call.worker.dead:
                ray.kill(call.worker.handle, no_restart=True)


def _drain(queue: deque[_T], start: Callable[[_T], bool]) -> None:
    """Start the queue's items in order, until one finds no free actor."""
    while queue and start(queue[0]):
        queue.popleft()
