"""Watches whether actors get a place on the cluster, and ends a run whose actors never do.

Ray queues an actor that fits on no node, without an error and without an end. An autoscaler may add a node within
minutes, so the run waits; if there is none and no node can ever hold the actor, it ends soon.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping

import ray

from actors.nodes.alive import alive_nodes
from actors.nodes.autoscaler import autoscales
from actors.scheduler.pool import Pool
from pipeline import units
from pipeline.errors import RunError

logger = logging.getLogger(__name__)

_LOG_EVERY_S = 60.0
_CHECK_EVERY_S = 2.0
#: Nodes that are started by hand, after the head, need a moment.
_JOINING_S = 30.0


class Placement:
    """Watches the pools of a run.

    Args:
        pools: to watch.
        timeout_s: how long a pool may have no actor with a place.
    """

    def __init__(self, pools: Iterable[Pool], timeout_s: float) -> None:
        self._pools = list(pools)
        self._timeout_s = timeout_s
        self._checked_s = now_s = time.monotonic()
        self._placed_s = {pool.role: now_s for pool in self._pools}
        self._logged_s = dict(self._placed_s)

    def check(self) -> None:
        """Cheap enough for every iteration of a loop.

        Raises:
            RunError: no actor of a pool has had a place for too long.
        """
        now_s = time.monotonic()
        if now_s - self._checked_s < min(_CHECK_EVERY_S, self._timeout_s):
            return
        self._checked_s = now_s
        for pool in self._pools:
            if pool.placed:
                self._placed_s[pool.role] = now_s
            else:
                self._unplaced(pool, now_s)

    def _unplaced(self, pool: Pool, now_s: float) -> None:
        waited_s = now_s - self._placed_s[pool.role]
        if waited_s >= self._timeout_s:
            raise RunError(
                f"No {pool.role} got a place on the Ray cluster within {self._timeout_s:g} s. {_situation(pool)} Add"
                " nodes, free some, or lower --decoders or --embedders; --placement-timeout-s waits longer."
            )
        if waited_s >= min(_JOINING_S, self._timeout_s / 2) and not _may_fit(pool.asks):
            raise RunError(
                f"No node of the Ray cluster can hold {_a(pool.role)}, and the cluster does not autoscale."
                f" {_situation(pool)} Add a node that is large enough, or ask for less."
            )
        if now_s - self._logged_s[pool.role] >= _LOG_EVERY_S:
            self._logged_s[pool.role] = now_s
            logger.info("Waiting for a place for the %ss. %s", pool.role, _situation(pool))


def _situation(pool: Pool) -> str:
    """What was asked for, and what there is."""
    nodes = _nodes()
    free = ray.available_resources()
    total = ray.cluster_resources()
    has = ", ".join(
        f"{_amount(name, free.get(name, 0))} of {_amount(name, total.get(name, 0))}" for name in _named(pool)
    )
    return (
        f"It asks for {', '.join(_amount(*asked) for asked in pool.asks.items()) or 'nothing'}; free on"
        f" {units.count(len(nodes), 'node')}: {has}."
    )


def _a(role: str) -> str:
    return f"{'an' if role[0] in 'aeiou' else 'a'} {role}"


def _named(pool: Pool) -> list[str]:
    return list(dict.fromkeys(("CPU", "GPU", *pool.asks)))


def _amount(name: str, value: float) -> str:
    return f"{units.size(value)} {name}" if name == "memory" else f"{value:g} {name}"


def _nodes() -> list[Mapping[str, float]]:
    return [node.resources for node in alive_nodes() if not node.leaving]


def _may_fit(asks: Mapping[str, float]) -> bool:
    """Whether a node can hold the actor once it is idle, or may be added. Without any node, not even a head is left."""
    nodes = _nodes()
    fits = any(all(node.get(name, 0) >= value for name, value in asks.items()) for node in nodes)
    return fits or (bool(nodes) and autoscales() is not False)
