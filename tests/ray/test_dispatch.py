"""Test the scheduler on a real Ray with toy actors: its guarantees must hold whatever the actors do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.scheduler.backlog import Limits
from actors.scheduler.dispatch import Dispatcher
from actors.scheduler.meter import Meter
from actors.scheduler.pool import Pool, Pools
from actors.scheduler.worker import Depth
from pipeline.errors import RunError
from pipeline.records import Shard
from pipeline.stats import Stats
from tests.fixtures.toy_actors import Faults, ToyDecoder, ToyEmbedder, ToyWriter

pytestmark = pytest.mark.usefixtures("local_ray")


@dataclass
class Toy:
    """One run of the scheduler over toy actors."""

    marks: Path
    faults: dict[str, Any] = field(default_factory=dict)
    actors: int = 1
    limits: Limits = field(default_factory=lambda: Limits(8, 100, 10**6, 4, 2, 60.0))

    def run(self, shards: dict[str, int], poll: Callable[[Dispatcher], None] = lambda _: None) -> Meter:
        faults = Faults(str(self.marks), **self.faults)
        decoders, embedders, writers = (self._pool(role, actor, faults) for role, actor in self._roles())
        self.meter = Meter("run", sum(shards.values()), 0, len(shards))
        planned = (Shard(name, rows, 0, "", 0) for name, rows in shards.items())
        pools: Pools = {"decode": decoders, "embed": embedders, "write": writers}
        dispatcher = Dispatcher(pools, planned, self.limits, self.meter)
        try:
            dispatcher.run(lambda: poll(dispatcher))
        finally:
            for pool in pools.values():
                pool.stop()
        return self.meter

    def _roles(self) -> list[tuple[str, type]]:
        return [("decoder", ToyDecoder), ("embedder", ToyEmbedder), ("writer", ToyWriter)]

    def _pool(self, role: str, actor: type, faults: Faults) -> Pool:
        remote = ray.remote(actor).options(num_cpus=0, max_restarts=0)
        return Pool(role, self.actors, lambda: remote.remote(faults), Depth(2))

    def rows(self, shard: str) -> tuple[list[int], list[int]]:
        embedded, _, crashed = (self.marks / f"{shard}.rows").read_text().partition("|")
        return [int(row) for row in embedded.split()], [int(row) for row in crashed.split()]


def test_every_row_of_every_shard_is_written_once_and_in_order(tmp_path: Path) -> None:
    toy = Toy(tmp_path, actors=2)
    meter = toy.run({"a": 100, "b": 1, "c": 37})
    assert toy.rows("a") == (list(range(100)), [])
    assert toy.rows("b") == ([0], [])
    assert toy.rows("c") == (list(range(37)), [])
    progress = meter.progress()
    assert (progress.shards_done, progress.stats.embedded, progress.inflight_bytes) == (3, 138, 0)


def test_no_row_is_lost_when_one_actor_of_each_kind_dies_once(tmp_path: Path) -> None:
    toy = Toy(tmp_path, {"die_once": frozenset({"decoder", "embedder", "writer"})}, actors=2)
    meter = toy.run({"a": 40, "b": 40})
    assert toy.rows("a") == (list(range(40)), [])
    assert toy.rows("b") == (list(range(40)), [])
    assert meter.progress().actors_replaced == 3


def test_poison_records_are_isolated_and_their_neighbours_kept(tmp_path: Path) -> None:
    """One record kills its decoder, one kills its embedder, and one makes its decoder raise."""
    poison = {"poison_decode": frozenset({5}), "poison_embed": frozenset({20}), "raise_decode": frozenset({27})}
    toy = Toy(tmp_path, poison, actors=2)
    toy.run({"a": 32, "b": 4})
    assert toy.rows("a") == ([row for row in range(32) if row not in (5, 20, 27)], [5, 20, 27])
    assert toy.rows("b") == ([0, 1, 2, 3], [])


def test_no_record_is_lost_in_a_short_outage(tmp_path: Path) -> None:
    toy = Toy(tmp_path, {"outages": 2})
    toy.run({"a": 24})
    assert toy.rows("a") == (list(range(24)), [])


def test_an_actor_that_fails_to_set_up_in_an_outage_is_replaced(tmp_path: Path) -> None:
    toy = Toy(tmp_path, {"setup_outages": 3})
    meter = toy.run({"a": 24})
    assert toy.rows("a") == (list(range(24)), [])
    assert meter.progress().actors_replaced == 3


def test_a_long_outage_fails_the_run_without_quarantining_records(tmp_path: Path) -> None:
    toy = Toy(tmp_path, {"outages": 1000})
    with pytest.raises(RunError, match="store is down"):
        toy.run({"a": 24})
    assert not list(tmp_path.glob("*.rows"))


def test_bytes_in_flight_stay_within_the_limit(tmp_path: Path) -> None:
    seen: list[int] = []
    toy = Toy(tmp_path, actors=2, limits=Limits(8, 100, 1600, 4, 2, 60.0))
    toy.run({"a": 200}, poll=lambda dispatcher: seen.append(toy.meter.progress().inflight_bytes))
    assert 0 < max(seen) <= 1600


def test_stopping_commits_nearly_finished_shards_and_starts_no_new_ones(tmp_path: Path) -> None:
    toy = Toy(tmp_path, {"sleep_s": 0.02})

    def stop_in_second_half(dispatcher: Dispatcher) -> None:
        if toy.meter.work.embedded >= 48:
            dispatcher.stop_within(30.0)

    toy.run({"a": 64, "b": 640, "c": 64}, poll=stop_in_second_half)
    assert toy.rows("a") == (list(range(64)), [])
    assert not (tmp_path / "c.rows").exists()
    assert toy.meter.progress().shards_done < 3


def test_a_hanging_call_is_killed_and_its_chunk_retried(tmp_path: Path) -> None:
    toy = Toy(tmp_path, {"sleep_s": 0.0}, limits=Limits(8, 100, 10**6, 4, 2, 2.0))
    hang = tmp_path / "hang"

    class HangingDecoder(ToyDecoder):
        def decode(self, shard: Shard, start: int, stop: int) -> tuple[list[int], Stats]:
            if start == 8 and not hang.exists():
                hang.touch()
                time.sleep(60)
            return super().decode(shard, start, stop)

    toy._roles = lambda: [("decoder", HangingDecoder), ("embedder", ToyEmbedder), ("writer", ToyWriter)]  # type: ignore[method-assign]
    meter = toy.run({"a": 32})
    assert toy.rows("a") == (list(range(32)), [])
    assert meter.progress().actors_replaced == 1


def test_a_parked_pool_serves_the_next_run_without_its_busy_and_dead_workers(tmp_path: Path) -> None:
    toy, faults = Toy(tmp_path, actors=2), Faults(str(tmp_path))

    def run(embedders: Pool, shards: dict[str, int]) -> None:
        decoders, writers = (toy._pool(role, actor, faults) for role, actor in toy._roles() if role != "embedder")
        try:
            planned = (Shard(name, rows, 0, "", 0) for name, rows in shards.items())
            meter = Meter("run", sum(shards.values()), 0, len(shards))
            pools: Pools = {"decode": decoders, "embed": embedders, "write": writers}
            Dispatcher(pools, planned, toy.limits, meter).run(lambda: None)
            embedders.rest()
        finally:
            decoders.stop()
            writers.stop()

    embedders = toy._pool("embedder", ToyEmbedder, faults)
    run(embedders, {"a": 40})
    first = list(embedders.workers)
    run(embedders, {"b": 40})
    assert embedders.workers == first
    embedders.take(first[0], suspect=False)
    embedders.rest()
    assert embedders.workers == first[1:]
    ray.kill(first[1].handle)
    run(embedders, {"c": 40})
    assert len(embedders.workers) == 2
    assert not {first[0], first[1]} & set(embedders.workers)
    assert [toy.rows(shard) for shard in "abc"] == [(list(range(40)), [])] * 3
    embedders.stop()
