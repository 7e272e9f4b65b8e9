"""Adjusts the crew of a run while it works: to the nodes that there are, and to the stage that sets the pace.

In: the pools, the backlog and the meter of a run. It changes the sizes of the pools and lets workers leave; the
dispatcher starts those that are missing. Three rules:

- A node that announced its end gets no more work. Its actors end with their last calls or when its time is up, its
  results are moved (`moving.py`), and nothing of that counts as a failure.
- When nodes joined or left, the crew is sized again for those that there are.
- A number of actors that the user did not choose follows the bottleneck (`balance.py`). On a cluster that autoscales,
  and if much work is left, it exceeds the places that there are, so that the autoscaler adds nodes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from actors.crew_size import CrewSize, Resources, writers_for
from actors.elastic.balance import CrewBalance
from actors.elastic.moving import move_results
from actors.machine.cluster import resources_of
from actors.nodes.alive import Node, own_node_id
from actors.nodes.watch import ClusterState
from actors.scheduler.backlog import Backlog, Limits
from actors.scheduler.meter import Meter
from actors.scheduler.pool import Pool, Pools
from actors.scheduler.stages import CallKind
from pipeline import units

logger = logging.getLogger(__name__)

_EVERY_S = 1.0
#: Actors on a node that leaves are ended this long before its time is up: Ray needs long to notice that a node is gone.
_MARGIN_S = 1.0
#: A new node takes minutes to start, so an autoscaler is asked for one only if the work left takes longer.
_WORTH_A_NODE_S = 600.0


@dataclass(frozen=True, slots=True)
class CrewRules:
    """How the crew of a run follows its cluster.

    Attributes:
        size: the crew at the start, before it was limited by the number of chunks.
        resize: the crew for other resources.
        limits: what may be in flight with a crew.
        known: the cluster that `size` was made for; as it is first seen if None.
        fixed: kinds of calls whose number of actors the user chose.
    """

    size: CrewSize
    resize: Callable[[Resources], CrewSize]
    limits: Callable[[CrewSize], Limits]
    known: ClusterState | None = None
    fixed: frozenset[CallKind] = frozenset()


class ElasticCrew:
    """The crew of one run.

    Args:
        rules: how it follows its cluster.
        pools: of the run.
        backlog: of the run.
        meter: of the run.
        cluster: the cluster as it was last seen; None if it was not.
    """

    def __init__(
        self, rules: CrewRules, pools: Pools, backlog: Backlog, meter: Meter, cluster: Callable[[], ClusterState | None]
    ) -> None:
        self._rules, self._pools, self._backlog, self._meter = rules, pools, backlog, meter
        self._cluster = cluster
        self._balance = CrewBalance(rules.fixed)
        self._checked_s = float("-inf")
        self._known, self._fitting = rules.known, rules.size
        self._leaving: frozenset[str] = frozenset()

    def adjust(self, now_s: float) -> None:
        """Look at the cluster and at the stages if that is due; cheap enough for every iteration of a loop.

        Args:
            now_s: a monotonic time.
        """
        if now_s - self._checked_s < _EVERY_S or (cluster := self._cluster()) is None:
            return
        self._checked_s = now_s
        self._leave(cluster.leaving)
        if cluster.staying:
            self._fit(cluster)
        self._follow(now_s, cluster)

    # --- nodes that leave -------------------------------------------------------------------------------------------

    def _leave(self, nodes: tuple[Node, ...]) -> None:
        leaving = frozenset(node.node_id for node in nodes)
        for node in nodes:
            if node.node_id not in self._leaving:
                when = "" if node.leaves_at_s is None else f" in {max(0.0, node.leaves_at_s - time.time()):.0f} s"
                logger.info("Node %s leaves%s: its actors get no more work", node.node_id[:8], when)
        self._leaving = leaving
        soon_s = time.time() + _MARGIN_S
        over = {node.node_id for node in nodes if node.leaves_at_s is not None and node.leaves_at_s <= soon_s}
        for pool in self._pools.values():
            pool.leave_nodes(leaving)
            for worker in [worker for worker in pool.workers if worker.node in over]:
                pool.discard(worker)
        if leaving:
            moved = move_results(self._backlog.shards.values(), leaving, own_node_id)
            if moved:
                logger.info("Moved %d results off nodes that leave", moved)

    # --- nodes that join or are gone --------------------------------------------------------------------------------

    def _fit(self, cluster: ClusterState) -> None:
        """Size the crew again if the nodes have changed."""
        before, self._known = self._known, cluster
        if before is None or _ids(before) == _ids(cluster):
            return
        former, self._fitting = self._fitting, self._rules.resize(resources_of(cluster))
        fitting, embedders, decoders = self._fitting, self._pools["embed"].size, self._pools["decode"].size
        share = max(1, round(decoders * fitting.decoders / former.decoders))
        reason = f"{units.count(len(cluster.staying), 'node')} instead of {len(before.staying)}"
        left = self._chunks_left()
        self._resize("embed", min(fitting.embedders, max(embedders, left)), reason)
        self._resize("decode", min(fitting.decoders, share, max(decoders, left)), reason)

    def _chunks_left(self) -> int:
        return -(-self._meter.rows_left // self._fitting.chunk_rows)

    # --- the stage that sets the pace -------------------------------------------------------------------------------

    def _follow(self, now_s: float, cluster: ClusterState) -> None:
        labour = self._meter.labour()
        if not labour or not self._backlog.fresh or self._meter.current_state != "running":
            self._balance.restart()
            return
        actors = {call: pool.size for call, pool in self._pools.items()}
        if change := self._balance.change(now_s, labour, actors, partial(self._most, cluster)):
            self._resize(change.call, change.actors, change.reason)

    def _most(self, cluster: ClusterState, call: CallKind) -> int:
        """How many actors of a kind could work now, or after an autoscaler added nodes for them."""
        pool = self._pools[call]
        if pool.unplaced:
            return pool.size  # Those are to get a place first.
        ceiling = self._fitting.embedders if call == "embed" else self._fitting.decoders
        room = min(ceiling - pool.size, _places(pool, cluster))
        eta_s = self._meter.eta_s()
        if room <= 0 and cluster.autoscaled and eta_s is not None and eta_s >= _WORTH_A_NODE_S:
            room = max(1, pool.size // 2)
        return pool.size + max(0, min(room, self._chunks_left() - pool.size))

    # --- both -------------------------------------------------------------------------------------------------------

    def _resize(self, call: CallKind, size: int, reason: str) -> None:
        pool = self._pools[call]
        if size == pool.size:
            return
        change = f"{units.count(size, pool.role)} instead of {pool.size}: {reason}"
        pool.resize(size)
        logger.info("%s", change)
        self._meter.crew_changed(change)
        decoders, embedders = self._pools["decode"].size, self._pools["embed"].size
        crew = replace(self._fitting, decoders=decoders, embedders=embedders)
        self._pools["write"].resize(max(self._pools["write"].size, writers_for(decoders)))
        self._backlog.limits = self._rules.limits(replace(crew, writers=self._pools["write"].size))
        self._balance.restart()


def _ids(cluster: ClusterState) -> set[str]:
    return {node.node_id for node in cluster.staying}


def _places(pool: Pool, cluster: ClusterState) -> int:
    """How many more actors of the pool find a place at once."""
    free = [node.free for node in cluster.staying]
    fits = (min(int(node.get(name, 0.0) / asked + 1e-6) for name, asked in pool.asks.items()) for node in free)
    return sum(fits) if pool.asks else pool.size
