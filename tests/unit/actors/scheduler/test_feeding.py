"""What the dispatcher hands to which actor, with actors that only record their calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.exceptions import OutOfDiskError, RayActorError, RayTaskError

from actors.scheduler import dispatch
from actors.scheduler.backlog import Limits
from actors.scheduler.chunks import Chunk, OpenShard
from actors.scheduler.dispatch import Dispatcher
from actors.scheduler.meter import Meter
from actors.scheduler.pool import Call, Pool, Pools
from actors.scheduler.worker import Depth, Pace, Worker
from pipeline.errors import RunError
from pipeline.records import Shard

EIGHT_ROWS = Limits(8, 100, 10**6, 4, 2, 60.0)


@dataclass
class RecordingActor:
    """An actor whose methods note their first argument, and never return."""

    seen: list[Any] = field(default_factory=list)
    made: int = 0

    @property
    def embed(self) -> RecordingActor:
        return self

    decode = embed

    def options(self, **_: Any) -> RecordingActor:
        self.made += 1
        return self

    def remote(self, first: Any, *_: Any) -> tuple[object, object]:
        self.seen.append(first)
        return object(), object()


def a_pool(role: str, actors: int, depth: Depth) -> Pool:
    """A pool of actors that are ready."""
    pool = Pool(role, actors, RecordingActor, depth)
    pool.workers = [Worker(RecordingActor(), None, None, ready=True) for _ in range(actors)]
    return pool


@dataclass
class Feed:
    """A dispatcher over recording actors, with decoded chunks that wait."""

    embedders: Pool
    limits: Limits = EIGHT_ROWS

    def __post_init__(self) -> None:
        decoders, writers = a_pool("decoder", 1, Depth(2)), a_pool("writer", 1, Depth(2))
        pools: Pools = {"decode": decoders, "embed": self.embedders, "write": writers}
        self.dispatcher = Dispatcher(pools, iter(()), self.limits, Meter("r", 1000, 0, 1))
        self.backlog = self.dispatcher.backlog
        self.shard = Shard("s", 1000, 0, "", 0)
        self.backlog.shards["s"] = OpenShard(self.shard, 8, next_row=1000)

    def decoded(self, name: str, rows: int, attempts: int = 0) -> None:
        chunk = Chunk(self.shard, 0, rows, attempts)
        self.backlog.admit(chunk)
        self.backlog.chunk_decoded(chunk, name)

    def handed(self) -> list[list[str]]:
        """What each embedder has been given."""
        self.dispatcher.feed()
        return [worker.handle.seen for worker in self.embedders.workers]


def test_small_chunks_fill_an_embedder_as_full_ones_do() -> None:
    feed = Feed(a_pool("embedder", 1, Depth(16, rows=24)))
    for number in range(20):
        feed.decoded(f"small-{number}", 2)
    assert len(feed.handed()[0]) == 12
    full = Feed(a_pool("embedder", 1, Depth(16, rows=24)))
    for number in range(20):
        full.decoded(f"full-{number}", 8)
    assert full.handed() == [["full-0", "full-1", "full-2"]]
    assert full.embedders.workers[0].handle.made == 1


def test_chunks_go_where_the_fewest_rows_are() -> None:
    feed = Feed(a_pool("embedder", 2, Depth(16, rows=24)))
    for name, rows in (("large", 8), ("a", 2), ("b", 2), ("c", 2)):
        feed.decoded(name, rows)
    assert feed.handed() == [["large"], ["a", "b", "c"]]


def test_a_suspect_that_waits_for_an_idle_embedder_holds_nothing_back() -> None:
    feed = Feed(a_pool("embedder", 2, Depth(3, rows=24)))
    for name in ("a", "b"):
        feed.decoded(name, 8)
    feed.handed()
    feed.decoded("suspect", 8, attempts=1)
    for name in ("c", "d", "e"):
        feed.decoded(name, 8)
    assert feed.handed() == [["a"], ["b", "c", "d"]]
    assert feed.backlog.waiting("embed") == 2
    feed.embedders.release(feed.embedders.workers[0], 8)
    assert feed.handed() == [["a", "suspect"], ["b", "c", "d"]]


def test_the_chunks_that_wait_are_bounded_by_their_rows() -> None:
    feed = Feed(a_pool("embedder", 0, Depth(3, rows=24)))
    for number in range(16):
        feed.decoded(f"small-{number}", 2)
    assert feed.backlog.admits()
    feed.decoded("one more", 2)
    assert not feed.backlog.admits()


@pytest.mark.parametrize(("rows_per_s", "calls"), [(400, 3), (4000, 4), (20_000, 16)])
def test_a_fast_embedder_gets_more_rows_at_hand(rows_per_s: int, calls: int) -> None:
    pace, depth = Pace(), Depth(16, rows=768, seconds=0.25)
    for number in range(50):
        pace.ended(number * 256 / rows_per_s, 256, more=True)
    assert pace.rows_in(1.0) == pytest.approx(rows_per_s)
    given = 0
    while depth.takes(given, given * 256, pace):
        given += 1
    assert given == calls


def test_time_without_work_does_not_count_as_slow() -> None:
    pace = Pace()
    for number in range(10):
        pace.ended(number * 100.0, 256, more=True)
        pace.ended(number * 100.0 + 0.1, 256, more=False)
    assert pace.rows_in(1.0) == pytest.approx(2560)


def test_the_calls_that_die_with_one_actor_are_one_failure() -> None:
    """Otherwise a lost node, with many actors of many calls each, would end the run."""
    feed = Feed(a_pool("embedder", 1, Depth(16, rows=24)))
    (worker,) = feed.embedders.workers
    worker.dead = True
    for _ in range(100):
        call = Call("embed", feed.embedders, worker, Chunk(feed.shard, 0, 2))
        feed.dispatcher.failed(call, RayActorError())
    assert [chunk.attempts for chunk in feed.backlog.suspects] == [1] * 100


def test_a_shard_whose_parts_found_no_room_starts_over_a_bounded_number_of_times() -> None:
    feed = Feed(a_pool("embedder", 1, Depth(2)))
    writers, shard = a_pool("writer", 1, Depth(2)), feed.backlog.shards["s"]
    full = RayTaskError("write", "its traceback", OutOfDiskError("no room")).as_instanceof_cause()

    def write() -> None:
        shard.parts[0], shard.rows_settled, shard.next_row = "a part", 1000, 1000
        feed.dispatcher.failed(Call("write", writers, writers.workers[0], shard), full)

    for _ in range(2):
        write()
        assert (shard.parts, shard.rows_uncut, len(feed.backlog.full)) == ({}, 1000, 0)
    with pytest.raises(RunError, match=r"Shard s cannot be written: OutOfDiskError: no room.*Free space"):
        write()


def test_without_any_actor_the_loop_waits_and_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(dispatch.time, "sleep", slept.append)
    monkeypatch.setattr(dispatch.ray, "wait", lambda *_, **__: ([], []))
    Feed(a_pool("embedder", 0, Depth(2))).dispatcher._wait()
    assert slept == [0.5]
