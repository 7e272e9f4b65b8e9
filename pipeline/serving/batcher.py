"""Joins rows of several requests into passes: what waits when a pass ends goes into the next one, together.

There is no timer, so a lone request never waits. A request with more rows than a pass takes is cut, and after each pass
its rest goes behind the requests that came meanwhile. The rows that wait are bounded. A request that nobody waits for
any more is skipped. If a pass fails, the requests in it are computed one by one, so that rows which make the model fail
fail alone.

`pipeline.model.engine` joins rows for a GPU as well. It knows no requests: there, a failed pass fails all that share
it, and a CPU computes each call alone.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pipeline.errors import DeviceLostError
from pipeline.serving.errors import ApiError, ErrorCode, overloaded

#: Requests that get their results at once. The answers of a whole pass hold up the event loop for 30 ms and more.
_ANSWERED_AT_ONCE = 8

R = TypeVar("R")
V = TypeVar("V")

#: Called after each pass with the lane, its rows, its seconds, and the seconds that its oldest row waited.
OnPass = Callable[[str, int, float, float], None]


@dataclass(eq=False, slots=True)
class Lane(Generic[R, V]):
    """Rows of one kind.

    Attributes:
        name: of the kind.
        compute: rows -> a result for each, in their order; called in the executor.
        most: most rows in a pass, now.
        limit: most rows of requests in progress.
        held: rows of requests in progress.
    """

    name: str
    compute: Callable[[Sequence[R]], Sequence[V]]
    most: Callable[[], int]
    limit: int
    held: int = 0
    queue: deque[_Request] = field(default_factory=deque)


@dataclass(eq=False, slots=True)
class _Request:
    rows: Sequence[Any]
    done: asyncio.Future[list[Any]]
    since_s: float
    results: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Share:
    """The next rows of a request, in one pass."""

    request: _Request
    rows: Sequence[Any]


class Batcher:
    """Computes rows in passes, one at a time.

    Args:
        executor: of one thread, in which passes run.
        on_pass: see `OnPass`.

    Attributes:
        is_lost: the device computes nothing any more; the process should end.
    """

    def __init__(self, executor: Executor, on_pass: OnPass = lambda *_: None) -> None:
        self._executor, self._on_pass = executor, on_pass
        self._lanes: deque[Lane[Any, Any]] = deque()
        self._task: asyncio.Task[None] | None = None
        self.is_lost = False

    def lane(
        self,
        name: str,
        compute: Callable[[Sequence[R]], Sequence[V]],
        most: Callable[[], int],
        limit: int,
    ) -> Lane[R, V]:
        """Add a kind of rows; kinds take turns."""
        lane = Lane(name, compute, most, limit)
        self._lanes.append(lane)
        return lane

    @contextmanager
    def room(self, lane: Lane[R, V], count: int) -> Iterator[None]:
        """Hold room for `count` rows that will be submitted, from before they are decoded until they are answered.

        Raises:
            ApiError: there is none.
        """
        if lane.held + count > lane.limit:
            raise overloaded(f"{lane.held:,} {lane.name}s are in progress here already. Try again in a moment.")
        lane.held += count
        try:
            yield
        finally:
            lane.held -= count

    async def results(self, lane: Lane[R, V], rows: Sequence[R]) -> list[V]:
        """The results of these rows, in their order; raises what `compute` raises for them alone."""
        if not rows:
            return []
        if self.is_lost:
            raise _lost()
        done: asyncio.Future[list[V]] = asyncio.get_running_loop().create_future()
        lane.queue.append(_Request(rows, done, time.monotonic()))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await done

    async def _run(self) -> None:
        """Compute passes until nothing waits."""
        while (formed := self._next()) is not None:
            await self._pass(*formed)

    def _next(self) -> tuple[Lane[Any, Any], list[_Share]] | None:
        """The next pass: of the lane whose turn it is, if something waits there."""
        for _ in range(len(self._lanes)):
            lane = self._lanes[0]
            self._lanes.rotate(-1)
            if shares := _taken(lane):
                return lane, shares
        return None

    async def _pass(self, lane: Lane[Any, Any], shares: list[_Share]) -> None:
        try:
            results = await self._compute(lane, shares)
        except DeviceLostError:
            self._give_up()
            _fail(shares, _lost())
            return
        except Exception as error:  # noqa: BLE001 - every request gets its own, and the server lives on
            if len(shares) == 1:
                _fail(shares, error)
                return
            for share in shares:
                await self._pass(lane, [share])
            return
        start, finished = 0, list[_Request]()
        for share in shares:
            finished += _settled(lane, share, results[start : start + len(share.rows)])
            start += len(share.rows)
        _answer(finished)

    async def _compute(self, lane: Lane[Any, Any], shares: list[_Share]) -> Sequence[Any]:
        rows = [row for share in shares for row in share.rows]
        waited_s = time.monotonic() - min(share.request.since_s for share in shares)
        began_s = time.monotonic()
        results = await asyncio.get_running_loop().run_in_executor(self._executor, lane.compute, rows)
        self._on_pass(lane.name, len(rows), time.monotonic() - began_s, waited_s)
        return results

    def _give_up(self) -> None:
        self.is_lost = True
        for lane in self._lanes:
            while lane.queue:
                request = lane.queue.popleft()
                _fail([_Share(request, ())], _lost())


def _taken(lane: Lane[Any, Any]) -> list[_Share]:
    """Take the rows of a pass from the lane's requests, in their order."""
    shares: list[_Share] = []
    room = max(1, lane.most())
    while lane.queue and room:
        request = lane.queue.popleft()
        if request.done.done():  # nobody waits any more
            continue
        start = len(request.results)
        rows = request.rows[start : start + room]
        shares.append(_Share(request, rows))
        room -= len(rows)
    return shares


def _settled(lane: Lane[Any, Any], share: _Share, results: Sequence[Any]) -> list[_Request]:
    """Keep the results of a share; its request if it is finished. One with further rows waits behind the others."""
    request = share.request
    request.results += results
    if request.done.done():
        return []
    if len(request.results) < len(request.rows):
        lane.queue.append(request)
        return []
    return [request]


def _answer(finished: list[_Request]) -> None:
    """Give requests their results, a few at a time: the event loop does other work in between, such as refusals."""
    for request in finished[:_ANSWERED_AT_ONCE]:
        if not request.done.done():
            request.done.set_result(request.results)
    if rest := finished[_ANSWERED_AT_ONCE:]:
        asyncio.get_running_loop().call_soon(_answer, rest)


def _fail(shares: list[_Share], error: Exception) -> None:
    for share in shares:
        if not share.request.done.done():
            share.request.done.set_exception(error)


def _lost() -> ApiError:
    message = "The device of this server stopped computing. Try again on another server, or when it has restarted."
    return ApiError(503, ErrorCode.DEVICE_LOST, message, retry_after_s=30)
