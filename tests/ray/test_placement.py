"""Actors for which the cluster has no place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import ray

from actors.scheduler.placement import Placement
from actors.scheduler.pool import Pool
from pipeline.errors import RunError
from tests.fixtures.processes import until
from tests.fixtures.toy_actors import Faults, ToyDecoder

pytestmark = pytest.mark.usefixtures("local_ray")


@contextmanager
def pool(role: str, cpus: float) -> Iterator[Pool]:
    """One actor that asks for `cpus`."""
    remote = ray.remote(ToyDecoder).options(num_cpus=cpus, max_restarts=0)
    pool = Pool(role, 1, lambda: remote.remote(Faults("")), 2, {"CPU": cpus})
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


def test_an_actor_that_no_node_can_hold_ends_the_run_early() -> None:
    with pool("embedder", 64) as large:
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
