"""Retries and bisection of failed chunks, without Ray."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.scheduler.chunks import Chunk, OpenShard
from pipeline.records import Shard


def shard(rows: int) -> Shard:
    return Shard("s", rows, 0, "records", 0)


def test_a_chunk_is_retried_once_and_then_split_in_halves() -> None:
    chunk = Chunk(shard(10), 0, 10)
    (again,) = chunk.after_failure()
    assert (again.start, again.stop, again.attempts) == (0, 10, 1)
    left, right = again.after_failure()
    assert [(left.start, left.stop), (right.start, right.stop)] == [(0, 5), (5, 10)]
    assert left.suspect
    assert right.suspect


def test_a_single_record_fails_after_three_attempts() -> None:
    chunk = Chunk(shard(1), 0, 1)
    attempts = 1
    while again := chunk.after_failure():
        (chunk,) = again
        attempts += 1
    assert attempts == 3


@given(rows=st.integers(1, 300), data=st.data())
def test_bisection_isolates_the_poison_records_and_loses_no_row(rows: int, data: st.DataObject) -> None:
    poison = data.draw(st.sets(st.integers(0, rows - 1), max_size=5))
    open_shard = OpenShard(shard(rows), chunk_rows=64)
    waiting = []
    while open_shard.rows_uncut:
        waiting.append(open_shard.cut())
    failures = 0
    while waiting:
        chunk = waiting.pop()
        if poison.isdisjoint(range(chunk.start, chunk.stop)):
            open_shard.settle(chunk, chunk)
            continue
        failures += 1
        again = chunk.after_failure()
        waiting.extend(again)
        if not again:
            open_shard.give_up(chunk, "died")
    assert open_shard.complete
    assert {one.row for one in open_shard.crashed} == poison
    covered = [row for part in open_shard.ordered_parts() for row in range(part.start, part.stop)]
    assert covered == [row for row in range(rows) if row not in poison]
    assert failures <= len(poison) * 10
