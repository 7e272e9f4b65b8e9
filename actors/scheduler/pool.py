"""Fixed numbers of actors by role. The dead are replaced; suspect calls run alone. Knows nothing of images.

A pool may serve one run after another: its actors stay as they are between `rest` and the next `start`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Worker:
    """One actor.

    Attributes:
        setup: reference of its set-up call.
        calls: in flight on it.
        ready: the set-up returned.
        exclusive: a suspect call runs.
    """

    handle: Any
    setup: Any
    calls: int = 0
    ready: bool = False
    exclusive: bool = False
    dead: bool = False


class Pool:
    """Actors of one role.

    Args:
        role: name for people, such as `decoder`.
        size: how many actors.
        make: creates one actor; its class has a `setup()` method, which is called once before any other.
        slots: calls in flight per actor, two or more so that the next call waits at the actor.
    """

    def __init__(self, role: str, size: int, make: Callable[[], Any], slots: int) -> None:
        self.role = role
        self.slots = slots
        self._make = make
        self.size = size
        self._reserved: Worker | None = None
        self.workers: list[Worker] = []

    def start(self) -> list[Worker]:
        """Create the actors that are missing; returns those that are not ready, whose `setup` is to be watched."""
        missing = self.size - len(self.workers)
        if missing:
            logger.info("%d %s%s start", missing, self.role, "s" if missing > 1 else "")
        for _ in range(missing):
            self._add()
        return [worker for worker in self.workers if not worker.ready]

    def _add(self) -> Worker:
        handle = self._make()
        worker = Worker(handle, handle.setup.remote())
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

    def pick(self, suspect: bool) -> Worker | None:
        """A worker for the next call, the least loaded first; none when all are full.

        For a suspect call the worker must be idle. If none is, the least loaded one is kept free of new calls until
        it has drained.
        """
        usable = [worker for worker in self.workers if worker.ready and not worker.exclusive]
        if suspect:
            self._reserved = min(usable, key=lambda worker: worker.calls, default=None)
            return self._reserved if self._reserved is not None and self._reserved.calls == 0 else None
        free = [worker for worker in usable if worker.calls < self.slots and worker is not self._reserved]
        return min(free, key=lambda worker: worker.calls, default=None)

    def unreserve(self) -> None:
        """Forget who was kept free; the next suspect call that is waiting chooses again."""
        self._reserved = None

    def take(self, worker: Worker, suspect: bool) -> None:
        """Note a call that was submitted to `worker`."""
        worker.calls += 1
        worker.exclusive = suspect
        if worker is self._reserved:
            self._reserved = None

    def release(self, worker: Worker) -> None:
        """Note that a call on `worker` ended, well or not."""
        worker.calls -= 1
        if worker.calls == 0:
            worker.exclusive = False

    def replace(self, worker: Worker, why: str) -> Worker | None:
        """Put a new actor in the place of a dead one; None if that was done already."""
        if worker.dead:
            return None
        if worker is self._reserved:
            self._reserved = None
        self._end(worker)
        logger.warning("%s is replaced: %s", self.role, why)
        return self._add()

    def rest(self) -> None:
        """Keep the actors for another run, but for those that still work on something nobody waits for."""
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


@dataclass(frozen=True, slots=True)
class Pools:
    """The three crews."""

    decoders: Pool
    embedders: Pool
    writers: Pool

    def __iter__(self) -> Iterator[Pool]:
        return iter((self.decoders, self.embedders, self.writers))
