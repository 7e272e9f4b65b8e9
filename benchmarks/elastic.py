"""A run on a cluster that grows from one node to three, and on one that loses a node again, beside a run on one node.

    python -m benchmarks.elastic

The nodes are processes of this machine. Stand-ins decode and embed: a record takes a given time of theirs and no CPU,
so that two cores show what three machines would do. Everything else is what runs use: the scheduler, the pools with
their reserved places, the crew that follows the nodes. A GPU of a node is only a number. Every shard that is written
must have all of its rows once and in order.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

from actors.crew_size import CrewSize, Resources, resize_crew, size_crew
from actors.elastic.elastic_crew import CrewRules, ElasticCrew
from actors.machine.cluster import cluster_now, resources_of
from actors.machine.local.processes import fewer_processes
from actors.nodes.watch import nodes_watched
from actors.scheduler.backlog import Limits
from actors.scheduler.dispatch import Dispatcher
from actors.scheduler.meter import Meter
from actors.scheduler.pool import Pool, Pools
from actors.scheduler.reserved import Reservation
from actors.scheduler.worker import Depth
from benchmarks.reporting import Goal, Row, save
from pipeline.config import ClusterConfig, ModelConfig
from pipeline.records import CommittedShard, Shard
from pipeline.stats import Stats

_NODE = {"num_cpus": 4, "num_gpus": 1, "object_store_memory": 100 * 2**20}
_SHARD_ROWS, _CHUNK_ROWS = 1024, 64
_DECODE_S, _EMBED_S = 0.005, 0.001
_JOIN_S, _LEAVE_S, _NOTICE_S = 5.0, 20.0, 5.0


class StandIn:
    """Decodes, embeds and writes row numbers; sleeps instead of computing."""

    def setup(self) -> None:
        """Nothing to load."""

    def decode(self, shard: Shard, start: int, stop: int) -> tuple[list[int], Stats]:
        """The numbers of the rows, after the time of decoding them."""
        taken_s = (stop - start) * _DECODE_S
        time.sleep(taken_s)
        return list(range(start, stop)), Stats(decode_s=taken_s)

    def embed(self, rows: list[int], attempts: int) -> tuple[list[int], Stats]:
        """The same rows, after the time of a forward pass."""
        taken_s = len(rows) * _EMBED_S
        time.sleep(taken_s)
        return rows, Stats(embedded=len(rows), embed_s=taken_s)

    def write(self, shard: Shard, crashed: Iterable[Any], *parts: list[int]) -> CommittedShard:
        """Counts the rows; raises ValueError unless each is there once."""
        rows = [row for part in parts for row in part]
        if rows != list(range(shard.rows)) or list(crashed):
            raise ValueError(f"{shard.shard_id} has other rows than those that were planned")
        return CommittedShard(Stats(embedded=len(rows)), elsewhere=False)


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=36)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    rows = [
        measured(name, given.shards, change) for name, change in (("one", _stay), ("grows", _grow), ("loses", _lose))
    ]
    one, grown, lost = (row["seconds"] for row in rows)
    goals = [
        Goal("time on a cluster that grows from 1 to 3 nodes, share of that on 1", grown / one, at_most=0.6),
        Goal("the same if one of the 3 leaves", lost / one, at_most=0.7),
        Goal("rows without exactly one outcome", sum(row["rows_planned"] - row["rows"] for row in rows), at_most=0),
        Goal("actors replaced because a node left", rows[2]["actors_replaced"], at_most=0),
    ]
    save("elastic", load, goals, rows)


def measured(name: str, shards: int, change: Callable[[Cluster], None]) -> Row:
    """A run over `shards`; `change` changes its cluster meanwhile."""
    with _cluster() as cluster, nodes_watched() as nodes:
        state = cluster_now()
        size = _size(resources_of(state))
        rules = CrewRules(size, lambda resources: resize_crew(size, resources, ClusterConfig(), 0), _limits, state)
        meter = Meter(name, shards * _SHARD_ROWS, 0, shards)
        planned = (Shard(f"{number:04d}", _SHARD_ROWS, 0, "", 0) for number in range(shards))
        with _pools(size) as pools:
            dispatcher = Dispatcher(pools, planned, _limits(size), meter)
            crew = ElasticCrew(rules, pools, dispatcher.backlog, meter, lambda: nodes.latest)
            began_s = time.monotonic()
            with _changed(cluster, change):
                dispatcher.run(lambda: crew.adjust(time.monotonic()))
            seconds = time.monotonic() - began_s
        progress = meter.progress()
    return {
        "cluster": name,
        "rows_planned": progress.rows_planned,
        "rows": progress.stats.embedded,
        "seconds": round(seconds, 1),
        "records_per_s": round(progress.stats.embedded / seconds),
        "actors_replaced": progress.actors_replaced,
        "crew_changes": list(progress.crew_changes),
    }


@contextmanager
def _changed(cluster: Cluster, change: Callable[[Cluster], None]) -> Iterator[None]:
    """Change the cluster in a thread that lives as long as the block: the nodes that it starts end with it."""
    ended = threading.Event()

    def work() -> None:
        change(cluster)
        ended.wait()

    threading.Thread(target=work, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _stay(_: Cluster) -> None:
    """Change nothing."""


def _grow(cluster: Cluster) -> None:
    """Add two nodes after a while."""
    time.sleep(_JOIN_S)
    with fewer_processes():
        for _ in range(2):
            cluster.add_node(**_NODE)


def _lose(cluster: Cluster) -> None:
    """The same, and then one of them announces its end and is killed."""
    _grow(cluster)
    time.sleep(_LEAVE_S - _JOIN_S)
    leaving = cluster.list_all_nodes()[-1]
    reason, at_s = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"), time.time() + _NOTICE_S
    GcsClient(address=cluster.address).drain_node(leaving.node_id, reason, "taken away", int(at_s * 1000))
    time.sleep(_NOTICE_S)
    cluster.remove_node(leaving, allow_graceful=False)


@contextmanager
def _cluster() -> Iterator[Cluster]:
    folder = tempfile.mkdtemp(prefix="hc-", dir="/tmp")
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}
    head = {**_NODE, "include_dashboard": False, "temp_dir": folder, "_system_config": quick}
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    with fewer_processes():
        cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _size(resources: Resources) -> CrewSize:
    return size_crew(resources, ClusterConfig(), ModelConfig(), 0, 224)


def _limits(size: CrewSize) -> Limits:
    return Limits(_CHUNK_ROWS, 100, size.inflight_bytes, size.embedders * 3, size.writers * 2, 60.0)


@contextmanager
def _pools(size: CrewSize) -> Iterator[Pools]:
    asks = {
        "decoder": {"CPU": size.cpus_per_decoder},
        "embedder": {"CPU": size.cpus_per_embedder, "GPU": size.gpus_per_embedder},
    }
    places = Reservation(asks)

    def pool(role: str, actors: int) -> Pool:
        asked = asks.get(role, {})
        needs = {"num_cpus": asked.get("CPU", 0), "num_gpus": asked.get("GPU", 0)}
        place = places.place(role) if asked else None

        def make(**options: Any) -> Any:
            chosen = {**needs, "max_restarts": 0, "max_task_retries": 0, **options}
            return ray.remote(StandIn).options(**chosen).remote()

        return Pool(role, actors, make, Depth(2), asked, place)

    pools: Pools = {
        "decode": pool("decoder", size.decoders),
        "embed": pool("embedder", size.embedders),
        "write": pool("writer", size.writers),
    }
    try:
        yield pools
    finally:
        for one in pools.values():
            one.stop()
        places.release()


if __name__ == "__main__":
    main()
