"""Compares blocks of vectors on a Ray cluster, one task per block.

In: the address of a cluster, or the Ray that this process is connected to. Out: the function that
`pipeline.curation.dedup` maps over its blocks. The driver reads blocks from its disk and keeps some in flight in Ray's
object store; tasks are pure functions, so that a lost task can be retried.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import ray

from actors.machine.cluster import connected
from actors.scheduler.failures import ray_errors_translated
from pipeline.config import ClusterConfig
from pipeline.curation.dedup.parallel import ParallelMap

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

#: Blocks in flight per core: one is computed, one waits.
_PER_CPU = 2
_MAX_RETRIES = 3


@contextmanager
def on_ray(address: str | None) -> Iterator[ParallelMap]:
    """Use a cluster inside the `with` block.

    Args:
        address: of the cluster; None uses the one that this process is connected to.

    Raises:
        RunError: it cannot be reached, or a task fails.
    """
    with connected(ClusterConfig(address=address)) as connection:
        inflight = max(_PER_CPU, int(connection.resources.cpus) * _PER_CPU)

        def each(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
            return _results(ray.put(function), items, inflight)

        with ray_errors_translated():
            yield each


def _results(function: ray.ObjectRef, items: Iterable[_Item], inflight: int) -> Iterator[_Result]:
    """Results in order, `inflight` calls at a time."""
    call = ray.remote(num_cpus=1, max_retries=_MAX_RETRIES)(_call)
    waiting: deque[ray.ObjectRef] = deque()
    for item in items:
        waiting.append(call.remote(function, item))
        if len(waiting) >= inflight:
            yield ray.get(waiting.popleft())
    while waiting:
        yield ray.get(waiting.popleft())


def _call(function: Callable[[_Item], _Result], item: _Item) -> _Result:
    return function(item)
