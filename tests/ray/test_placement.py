"""Actors for which the cluster has no place."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import ray
from ray._private.worker import global_worker

from actors.nodes.autoscaler import autoscales
from actors.scheduler.placement import Placement
from actors.scheduler.pool import Pool
from actors.scheduler.reserved import Reservation
from actors.scheduler.worker import Depth
from pipeline.errors import RunError
from tests.fixtures.processes import until
from tests.fixtures.toy_actors import Faults, ToyDecoder

pytestmark = pytest.mark.usefixtures("local_ray")


@contextmanager
def pool(role: str, cpus: float) -> Iterator[Pool]:
    """One actor that asks for `cpus`."""
    remote = ray.remote(ToyDecoder).options(num_cpus=cpus, max_restarts=0)
    pool = Pool(role, 1, lambda: remote.remote(Faults("")), Depth(2), {"CPU": cpus})
    pool.start()
    try:
        yield pool
    finally:
        pool.stop()


def watch(pools: list[Pool], timeout_s: float) -> str:
    """Check until the run is ended; the error."""
    placement = Placement(pools, timeout_s)

    def ended() -> str:
        try:
            placement.check()
        except RunError as error:
            return str(error)
        return ""

    return str(until(ended, "the end of the run", every_s=0.05))


def test_actors_that_never_get_a_place_end_the_run_and_what_they_asked_for_is_named() -> None:
    with pool("embedder", 2) as first, pool("decoder", 2) as second:
        until(lambda: first.placed, "a place for the first")
        error = watch([first, second], 0.5)
        assert "No decoder got a place on the Ray cluster within 0.5 s. It asks for 2 CPU" in error
        assert "0 CPU of 2 CPU" in error
        assert "lower --decoders or --embedders; --placement-timeout-s" in error


@contextmanager
def reported(*types: str) -> Iterator[None]:
    """What Ray's monitor, which the tests' Ray does not start, reports about nodes of these types."""
    client, key = global_worker.gcs_client, b"__autoscaling_status"
    status = json.dumps({"autoscaler_report": {"active_nodes": dict.fromkeys(types, 1)}})
    client.internal_kv_put(key, status.encode(), True, None)
    try:
        yield
    finally:
        client.internal_kv_del(key, False, None)


BY_HAND = f"node_{'0' * 56}"


def test_whether_nodes_may_be_added_is_known_from_the_types_of_those_that_there_are() -> None:
    assert autoscales() is None
    for types, answer in (((BY_HAND,), False), ((BY_HAND, "gpu-group"), True), ((), None)):
        with reported(*types):
            assert autoscales() is answer


def test_an_actor_that_no_node_can_hold_ends_the_run_early() -> None:
    with pool("embedder", 64) as large, reported(BY_HAND):
        error = watch([large], 4.0)
    assert "No node of the Ray cluster can hold an embedder, and the cluster does not autoscale." in error
    assert "asks for 64 CPU; free on 1 node" in error


def test_a_pool_with_a_place_is_left_alone() -> None:
    with pool("decoder", 1) as small:
        placement = Placement([small], 0.3)
        until(lambda: small.placed, "a place")
        for _ in range(10):
            placement.check()
            time.sleep(0.05)


class Sharing:
    """A run that fills the cluster with a decoder and an embedder, and asks for a second decoder."""

    def __init__(self) -> None:
        asks = {"CPU": 1.0}
        self.places = Reservation({"decoder": asks, "embedder": asks})
        self.decoders, self.embedders = (
            self._pool(role, size, asks) for role, size in (("decoder", 2), ("embedder", 1))
        )

    def _pool(self, role: str, size: int, asks: dict[str, float]) -> Pool:
        def make(**place: Any) -> Any:
            return ray.remote(ToyDecoder).options(num_cpus=1, max_restarts=0, **place).remote(Faults(""))

        return Pool(role, size, make, Depth(2), asks, self.places.place(role))

    @property
    def placed(self) -> bool:
        return self.decoders.placed and self.embedders.placed

    def stop(self) -> None:
        self.decoders.stop()
        self.embedders.stop()
        self.places.release()


def test_runs_that_share_a_cluster_never_hold_places_while_they_wait_for_others() -> None:
    runs = [Sharing(), Sharing()]
    try:
        for run in runs:
            run.decoders.start()
        for run in runs:
            run.embedders.start()
        [first] = until(lambda: [run for run in runs if run.placed], "one run with all its places")
        assert len(first.decoders.workers) == 2
        [second] = [run for run in runs if run is not first]
        assert not second.places.granted
        assert not second.decoders.fill()
        assert not second.decoders.placed
        first.stop()
        until(lambda: second.placed, "the places of the other run")
        assert len(second.decoders.fill()) == 1, "further actors follow once the places are held"
    finally:
        for run in runs:
            run.stop()
