"""Bodies that are on their way in: they hold bytes and no place among the requests in progress.

Each has a deadline, which follows its bytes. When the bytes of all requests are used up, the body that has held most of
them for longest gives way, so that clients who send slowly, by accident or on purpose, do not keep the others out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from pipeline.serving.border.budget import Budget
from pipeline.serving.border.call import OpenCall

#: A client has so long for a body, and a second more for each of so many bytes.
BODY_S, _LEAST_BYTES_PER_S = 20.0, 2**16
#: So many bytes of each body are free: a short request is read however many large ones arrive.
FREE_BYTES = 2**16
#: A body that arrives faster gives way to none, so that under load those that have begun are finished.
YIELDS_AFTER_S = 2.0


@dataclass(eq=False, slots=True)
class _Arrival:
    call: OpenCall
    limit: asyncio.Timeout
    since_s: float

    def byte_seconds(self, now_s: float) -> float:
        """What it has held, times how long; 0 if it need not give way yet."""
        age_s = now_s - self.since_s
        return self.call.held_bytes * age_s if age_s >= YIELDS_AFTER_S else 0.0


class Arrivals:
    """The bodies that arrive.

    Args:
        budget: bytes of all requests.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._open: set[_Arrival] = set()

    @asynccontextmanager
    async def arriving(self, call: OpenCall) -> AsyncIterator[Callable[[int], None]]:
        """Read a body; what it gives counts bytes of it. That raises ApiError if there is no room for them.

        Raises:
            TimeoutError: the body came too slowly, or had to give way.
        """
        async with asyncio.timeout(BODY_S) as limit:
            arrival = _Arrival(call, limit, time.monotonic())
            self._open.add(arrival)
            try:
                yield partial(self._take, arrival)
            finally:
                self._open.discard(arrival)

    def _take(self, arrival: _Arrival, count: int) -> None:
        call = arrival.call
        more = max(0, call.body_bytes + count - FREE_BYTES) - call.held_bytes
        if more and not self._budget.has(more):
            self._make_room(arrival, more)
        self._budget.take(more)
        call.body_bytes += count
        call.held_bytes += more
        arrival.limit.reschedule((arrival.limit.when() or 0) + count / _LEAST_BYTES_PER_S)

    def _make_room(self, arrival: _Arrival, count: int) -> None:
        """End others until there is room; nobody, if it is this one that has held most."""
        now_s = time.monotonic()
        while self._open and not self._budget.has(count):
            heaviest = max(self._open, key=lambda each: each.byte_seconds(now_s))
            if heaviest is arrival or not heaviest.byte_seconds(now_s):
                return
            self._open.discard(heaviest)
            self._budget.give(heaviest.call.held_bytes)
            heaviest.call.held_bytes = 0
            if not heaviest.limit.expired():
                heaviest.limit.reschedule(asyncio.get_running_loop().time())
