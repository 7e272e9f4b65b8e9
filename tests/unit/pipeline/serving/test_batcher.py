"""Joining rows of requests into passes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipeline.errors import DeviceLostError
from pipeline.serving.batcher import Batcher, Lane
from pipeline.serving.errors import ApiError


class Toy:
    """Squares numbers; a pass with a negative one fails. The first pass waits until the others were submitted."""

    def __init__(self, most: int = 4, limit: int = 100) -> None:
        self.passes: list[list[int]] = []
        self.error: Exception = ValueError("negative")
        self.batcher = Batcher(ThreadPoolExecutor(1))
        self.lane: Lane[int, int] = self.batcher.lane("number", self.squares, lambda: most, limit)

    def squares(self, rows: Sequence[int]) -> list[int]:
        self.passes.append(list(rows))
        if any(row < 0 for row in rows):
            raise self.error
        return [row * row for row in rows]

    async def together(self, *requests: Sequence[int]) -> list[Any]:
        work = (self.batcher.results(self.lane, rows) for rows in requests)
        return await asyncio.gather(*work, return_exceptions=True)


def test_what_waits_shares_a_pass_and_a_large_request_goes_behind_the_others():
    toy = Toy()
    found = asyncio.run(toy.together([1, 2, 3, 4, 5, 6, 7, 8, 9], [10], [20, 30]))
    assert found == [[n * n for n in range(1, 10)], [100], [400, 900]]
    assert toy.passes == [[1, 2, 3, 4], [10, 20, 30, 5], [6, 7, 8, 9]]


def test_rows_that_make_the_model_fail_fail_alone():
    toy = Toy()
    first, bad, second = asyncio.run(toy.together([1], [2, -1], [3]))
    assert (first, second) == ([1], [9])
    assert isinstance(bad, ValueError)
    assert toy.passes == [[1, 2, -1, 3], [1], [2, -1], [3]]


def test_a_request_that_nobody_waits_for_is_skipped():
    toy = Toy(most=2)

    async def run() -> list[int]:
        first = asyncio.ensure_future(toy.batcher.results(toy.lane, [1, 2]))
        left = asyncio.ensure_future(toy.batcher.results(toy.lane, [7] * 100))
        last = asyncio.ensure_future(toy.batcher.results(toy.lane, [3]))
        await asyncio.sleep(0)
        left.cancel()
        await first
        return await last

    assert asyncio.run(run()) == [9]
    assert toy.passes == [[1, 2], [3]]


def test_the_answers_of_a_pass_leave_the_event_loop_to_others_in_between():
    toy = Toy(most=64)
    turn, answered = 0, list[int]()

    async def others() -> None:
        nonlocal turn
        while len(answered) < 40:
            turn += 1
            await asyncio.sleep(0)

    async def ask(number: int) -> None:
        assert await toy.batcher.results(toy.lane, [number]) == [number**2]
        answered.append(turn)

    async def run() -> None:
        await asyncio.gather(others(), *map(ask, range(40)))

    asyncio.run(run())
    assert max(answered.count(one) for one in answered) == 8


def test_rows_in_progress_are_bounded_and_their_room_comes_back():
    toy = Toy(limit=3)
    with toy.batcher.room(toy.lane, 3):
        with pytest.raises(ApiError, match="3 numbers are in progress") as refused, toy.batcher.room(toy.lane, 1):
            pass
        assert (refused.value.status, set(refused.value.headers)) == (503, {"Retry-After"})
    with toy.batcher.room(toy.lane, 3):
        assert asyncio.run(toy.together([])) == [[]]


def test_a_lost_device_ends_every_request_at_once():
    toy = Toy()
    toy.error = DeviceLostError()
    found = asyncio.run(toy.together([-1, 2, 3, 4], [5], [6]))
    assert [error.code for error in found] == ["device_lost"] * 3
    assert toy.passes == [[-1, 2, 3, 4]]
    assert asyncio.run(toy.together([1]))[0].status == 503


def test_kinds_take_turns():
    toy = Toy(most=1)
    other = toy.batcher.lane("other", toy.squares, lambda: 1, 10)

    async def run() -> None:
        await asyncio.gather(toy.batcher.results(toy.lane, [1, 2]), toy.batcher.results(other, [8, 9]))

    asyncio.run(run())
    assert toy.passes == [[1], [8], [2], [9]]
