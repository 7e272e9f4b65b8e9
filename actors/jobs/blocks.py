"""Blocks of vectors compared on a Ray cluster, a task each.

In: the address of a cluster, or the Ray that this process is on. Out: what `pipeline.curation.dedup` calls for each
block: the driver reads them from its disk and keeps some in flight through Ray's object store; tasks are pure
functions, so a task that is lost runs again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import ray

from actors.machine.cluster import connected
from pipeline.config import ClusterConfig
from pipeline.curation.dedup.pairs.neighbours import Each

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Blocks in flight for each core: one is computed, one waits.
_PER_CPU = 2
_TRIES = 3


@contextmanager
def on_ray(address: str | None) -> Iterator[Each]:
    """Use a cluster while the block lasts.

    Args:
        address: of the cluster; without it, and in a process that has joined one, that one.

    Raises:
        RunError: it cannot be reached.
    """
    with connected(ClusterConfig(address=address)) as resources:
        flight = max(_PER_CPU, int(resources.cpus) * _PER_CPU)

        def each(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
            return _results(ray.put(function), items, flight)

        yield each


def _results(function: ray.ObjectRef, items: Iterable[Item], flight: int) -> Iterator[Result]:
    """Results in order, `flight` calls at a time."""
    call = ray.remote(num_cpus=1, max_retries=_TRIES)(_call)
    waiting: deque[ray.ObjectRef] = deque()
    for item in items:
        waiting.append(call.remote(function, item))
        if len(waiting) >= flight:
            yield ray.get(waiting.popleft())
    while waiting:
        yield ray.get(waiting.popleft())


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)
