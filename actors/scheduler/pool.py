"""Pools of actors. Dead actors are replaced, and a suspect call runs alone on its actor.

A pool may serve several runs: its actors stay alive between `rest` and the next `start`. Its first actor may have a
reserved place; the others then follow once that is held.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray

from actors.scheduler.reserved import ReservedPlace
from actors.scheduler.stages import CallKind

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Worker:
    """One actor.

    Attributes:
        setup: reference of its set-up call.
        placed: reference that is ready when the actor runs on a node.
        calls: number of calls in flight on it.
        ready: whether its set-up returned.
        exclusive: whether a suspect call runs on it.
        reserved: whether it goes to the pool's reserved place.
    """

    handle: Any
    setup: Any
    placed: Any
    calls: int = 0
    ready: bool = False
    exclusive: bool = False
    reserved: bool = False
    dead: bool = False


class Pool:
    """Actors of one role.

    Args:
        role: name in logs and messages, such as `decoder`.
        size: number of actors; a later run may need another, and keeps those that there are.
        make: creates one actor with options of Ray; its class has a `setup()` method, which is called once before any
            other.
        slots: calls in flight per actor; two or more, so that the next call already waits at the actor.
        asks: what an actor asks of a node, by Ray's names of resources; for messages.
        place: reserved for one of the actors.
    """

    def __init__(
        self,
        role: str,
        size: int,
        make: Callable[..., Any],
        slots: int,
        asks: Mapping[str, float] | None = None,
        place: ReservedPlace | None = None,
    ) -> None:
        self.role = role
        self.asks = {name: value for name, value in (asks or {}).items() if value}
        self.slots = slots
        self._make = make
        self._place = place
        self.size = size
        self._reserved: Worker | None = None
        self.workers: list[Worker] = []

    def start(self) -> list[Worker]:
        """Create missing actors as in `fill`; returns all that are not ready, whose `setup` the caller waits for."""
        self.fill()
        return [worker for worker in self.workers if not worker.ready]

    def fill(self) -> list[Worker]:
        """Create the missing actors, only one until its reserved place is held; returns the new workers."""
        missing = max(0, self.size - len(self.workers))
        if missing and self._place and not self._place.granted:
            missing = 0 if self.workers else 1
        if missing:
            logger.info("Starting %d %s%s", missing, self.role, "s" if missing > 1 else "")
        return [self._add() for _ in range(missing)]

    def _add(self) -> Worker:
        reserved = self._place is not None and not any(worker.reserved for worker in self.workers)
        handle = self._make(**self._place.options) if self._place and reserved else self._make()
        placed = handle.__ray_ready__.remote()  # before the set-up, which may take minutes
        worker = Worker(handle, handle.setup.remote(), placed, reserved=reserved)
        self.workers.append(worker)
        return worker

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
        """The least loaded worker for the next call; None if all are full.

        A suspect call needs an idle worker. If there is none, the least loaded one is reserved: it gets no new calls
        until it is idle.
        """
        usable = [worker for worker in self.workers if worker.ready and not worker.exclusive]
        if suspect:
            self._reserved = min(usable, key=lambda worker: worker.calls, default=None)
            return self._reserved if self._reserved is not None and self._reserved.calls == 0 else None
        free = [worker for worker in usable if worker.calls < self.slots and worker is not self._reserved]
        return min(free, key=lambda worker: worker.calls, default=None)

    def unreserve(self) -> None:
        """Drop the reservation; the next waiting suspect call reserves again."""
        self._reserved = None

    def take(self, worker: Worker, suspect: bool) -> None:
        """Count a call that was submitted to `worker`."""
        worker.calls += 1
        worker.exclusive = suspect
        if worker is self._reserved:
            self._reserved = None

    def release(self, worker: Worker) -> None:
        """Count a call on `worker` as ended, successfully or not."""
        worker.calls -= 1
        if worker.calls == 0:
            worker.exclusive = False

    def replace(self, worker: Worker, reason: str) -> Worker | None:
        """Replace a dead actor by a new one; None if that was already done."""
        if worker.dead:
            return None
        if worker is self._reserved:
            self._reserved = None
        self._end(worker)
        logger.warning("Replacing a %s: %s", self.role, reason)
        return self._add()

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
        worker.dead = True
        self.workers.remove(worker)
        ray.kill(worker.handle, no_restart=True)


#: A pool for each kind of call, in the order of the work.
Pools = Mapping[CallKind, Pool]
