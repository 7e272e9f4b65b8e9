"""Pools of actors. Dead actors are replaced, and a suspect call runs alone on its actor.

A pool may serve several runs: its actors stay alive between `rest` and the next `start`. Its first actor may have a
reserved place; the others then follow once that is held.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray.exceptions import RayError

from actors.nodes.alive import own_node_id
from actors.scheduler.chunks import Chunk
from actors.scheduler.reserved import ReservedPlace
from actors.scheduler.stages import CallKind
from actors.scheduler.worker import Depth, Worker
from pipeline import units

logger = logging.getLogger(__name__)


class Pool:
    """Actors of one role.

    Args:
        role: name in logs and messages, such as `decoder`.
        size: number of actors; a later run may need another, and keeps those that there are.
        make: creates one actor with options of Ray; its class has a `setup()` method, which is called once before any
            other.
        depth: how much each actor has at hand.
        asks: what an actor asks of a node, by Ray's names of resources; for messages.
        place: reserved for one of the actors.

    Attributes:
        leaving: ids of the nodes that announced their end.
    """

    def __init__(
        self,
        role: str,
        size: int,
        make: Callable[..., Any],
        depth: Depth,
        asks: Mapping[str, float] | None = None,
        place: ReservedPlace | None = None,
    ) -> None:
        self.role = role
        self.asks = {name: value for name, value in (asks or {}).items() if value}
        self._depth = depth
        self._make = make
        self._place = place
        self.size = size
        self._reserved: Worker | None = None
        self.leaving: frozenset[str] = frozenset()
        self.workers: list[Worker] = []

    def start(self) -> list[Worker]:
        """Create missing actors as in `fill`; returns all that are not ready, whose `setup` the caller waits for."""
        self.fill()
        return [worker for worker in self.workers if not worker.ready]

    def fill(self) -> list[Worker]:
        """Create the missing actors, only one until its reserved place is held; returns the new workers."""
        missing = max(0, self.size - self._staying)
        if missing and self._place and not self._place.granted:
            missing = 0 if self._staying else 1
        if missing:
            logger.info("Starting %s", units.count(missing, self.role))
        return [self._add() for _ in range(missing)]

    def _add(self) -> Worker:
        taken = any(worker.reserved for worker in self.workers)
        place = None if taken or (self.leaving and self._place and self._place.node in self.leaving) else self._place
        handle = self._make(**place.options) if place else self._make()
        placed = handle.__ray_call__.remote(_node_of)  # before the set-up, which may take minutes
        worker = Worker(handle, handle.setup.remote(), placed, reserved=place is not None)
        self.workers.append(worker)
        return worker

    @property
    def _staying(self) -> int:
        return sum(not worker.leaving for worker in self.workers)

    @property
    def calls(self) -> int:
        """Calls in flight on all workers."""
        return sum(worker.calls for worker in self.workers)

    @property
    def ready(self) -> int:
        """Workers that finished their set-up."""
        return sum(worker.ready for worker in self.workers)

    @property
    def placed(self) -> bool:
        """Whether a worker runs on a node, ready or not."""
        if self.ready or not self.workers:
            return True
        return bool(ray.wait([worker.placed for worker in self.workers], timeout=0)[0])

    def pick(self, suspect: bool) -> Worker | None:
        """The worker with the fewest rows in flight for the next call; None if all have enough.

        A suspect call needs an idle worker. If there is none, the least loaded one is reserved: it gets no new calls
        until it is idle.
        """
        usable = [worker for worker in self.workers if worker.ready and not worker.exclusive and not worker.leaving]
        if suspect:
            self._reserved = min(usable, key=lambda worker: worker.calls, default=None)
            return self._reserved if self._reserved is not None and self._reserved.calls == 0 else None
        takes = self._depth.takes
        free = [one for one in usable if one is not self._reserved and takes(one.calls, one.rows, one.pace)]
        return min(free, key=lambda worker: (worker.rows, worker.calls), default=None)

    def unreserve(self) -> None:
        """Drop the reservation; the next waiting suspect call reserves again."""
        self._reserved = None

    def take(self, worker: Worker, suspect: bool, rows: int = 0) -> None:
        """Count a call that was submitted to `worker`."""
        worker.calls += 1
        worker.rows += rows
        worker.exclusive = suspect
        if worker is self._reserved:
            self._reserved = None

    def release(self, worker: Worker, rows: int = 0) -> None:
        """Count a call on `worker` as ended, successfully or not; a worker that leaves ends with its last call."""
        worker.calls -= 1
        worker.rows -= rows
        worker.pace.ended(time.monotonic(), rows, more=worker.calls > 0)
        if worker.calls == 0:
            worker.exclusive = False
            if worker.leaving:
                self.discard(worker)

    def replace(self, worker: Worker, reason: str) -> Worker | None:
        """Replace a dead actor by a new one; None if that was already done, or if there are enough others."""
        if worker.dead:
            return None
        self.discard(worker)
        if self._staying >= self.size:
            return None
        logger.warning("Replacing a %s: %s", self.role, reason)
        return self._add()

    def discard(self, worker: Worker) -> None:
        """End an actor unless it is dead; `fill` starts another one if the pool is then too small."""
        if not worker.dead:
            self._end(worker)

    @property
    def unplaced(self) -> int:
        """Workers that wait for a place."""
        self._locate()
        return sum(not worker.node and not worker.ready for worker in self.workers)

    def resize(self, size: int) -> None:
        """Change the number of actors: those without a place leave first, the one at the reserved place last."""
        self.size = size
        staying = [worker for worker in self.workers if not worker.leaving]
        staying.sort(key=lambda worker: (worker.reserved, worker.ready, bool(worker.node), worker.calls))
        self.leave(staying[: max(0, len(staying) - size)])

    def leave_nodes(self, nodes: frozenset[str]) -> None:
        """Let all workers on these nodes leave, and start none there."""
        self.leaving = nodes
        if nodes:
            self._locate()
            self.leave([worker for worker in self.workers if worker.node in nodes and not worker.leaving])

    def leave(self, workers: Iterable[Worker]) -> None:
        """Give these no more calls, and end each when it has none in flight."""
        for worker in workers:
            worker.leaving = True
            if worker.calls == 0:
                self.discard(worker)

    def _locate(self) -> None:
        """Note the nodes of the workers that were placed since the last time."""
        unknown = {worker.placed: worker for worker in self.workers if not worker.node}
        placed = ray.wait(list(unknown), num_returns=len(unknown), timeout=0)[0] if unknown else []
        for reference in placed:
            try:
                unknown[reference].node = ray.get(reference)
            except RayError as error:  # It died, which its set-up reports, too.
                logger.debug("A %s has no node: %s", self.role, error)

    def rest(self) -> None:
        """Keep the actors for another run, except those with abandoned calls in flight."""
        self._reserved = None
        for worker in [worker for worker in self.workers if worker.calls]:
            self._end(worker)

    def stop(self) -> None:
        """End all actors."""
        for worker in list(self.workers):
            self._end(worker)

    def _end(self, worker: Worker) -> None:
        if worker is self._reserved:
            self._reserved = None
        worker.dead = True
        self.workers.remove(worker)
        ray.kill(worker.handle, no_restart=True)


def _node_of(_: object) -> str:
    """The id of the node on which an actor calls this."""
    return own_node_id()


#: A pool for each kind of call, in the order of the work.
Pools = Mapping[CallKind, Pool]


@dataclass(frozen=True, slots=True)
class Call:
    """A call in flight: its kind, the actor, the chunk or shard, the reference of the large result, the deadline."""

    kind: CallKind | Literal["setup"]
    pool: Pool
    worker: Worker
    work: Any = None
    payload: Any = None
    deadline_s: float = float("inf")

    @property
    def rows(self) -> int:
        """Rows of its chunk; 0 if it is about none."""
        return self.work.rows if isinstance(self.work, Chunk) else 0
