"""Workers and results on a node that announced its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import ray

from actors.elastic.moving import move_results
from actors.scheduler.chunks import OpenShard
from actors.scheduler.pool import Pool
from actors.scheduler.worker import Depth
from pipeline.records import Shard
from tests.fixtures.processes import until
from tests.fixtures.toy_actors import Faults, ToyDecoder

pytestmark = pytest.mark.usefixtures("local_ray")

SHARD = Shard("a", 8, 0, "", 0)


def here() -> str:
    return str(ray.get_runtime_context().get_node_id())


def test_workers_on_a_node_that_leaves_finish_their_calls_and_others_take_their_place(tmp_path: Path) -> None:
    remote = ray.remote(ToyDecoder).options(num_cpus=0, max_restarts=0)
    pool = Pool("decoder", 2, lambda: remote.remote(Faults(str(tmp_path))), Depth(2))
    try:
        busy, idle = pool.start()
        ray.get([worker.setup for worker in pool.workers])
        until(lambda: not pool.unplaced, "places")
        busy.ready = idle.ready = True
        pool.take(busy, suspect=False)
        pool.leave_nodes(frozenset({here()}))
        assert (pool.workers, idle.dead, pool.pick(suspect=False)) == ([busy], True, None)
        rows, _ = ray.get(busy.handle.decode.remote(SHARD, 0, 8))
        assert rows == list(range(8))
        pool.release(busy)
        assert (pool.workers, busy.dead) == ([], True)
        pool.leave_nodes(frozenset())
        assert len(pool.fill()) == 2
    finally:
        pool.stop()


def test_results_that_exist_only_on_nodes_that_leave_are_moved() -> None:
    large, small = ray.put(np.arange(10**6)), ray.put(1)
    shard = OpenShard(SHARD, 4, parts={0: large, 4: small})
    assert move_results([shard], {"another node"}, lambda: "the driver's") == 0
    assert move_results([shard], {here()}, here) == 0, "there is no other place"
    assert shard.parts == {0: large, 4: small}
    assert move_results([shard], {here()}, lambda: "the driver's") >= 1
    assert shard.parts[0] != large
    assert np.array_equal(ray.get(shard.parts[0]), np.arange(10**6))
    assert ray.get(shard.parts[4]) == 1
