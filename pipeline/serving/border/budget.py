"""Something of which only so much may be in use at once: bytes of requests, pixels that are decoded.

Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from pipeline.serving.errors import overloaded


class Budget:
    """An amount that is taken and given back.

    Args:
        limit: most in use.

    Attributes:
        used: what is in use.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self.used = limit, 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def has(self, amount: int) -> bool:
        """Whether so much is free."""
        return self.used + amount <= self._limit

    def take(self, amount: int) -> None:
        """Take it now. Raises ApiError if there is not enough."""
        if not self.has(amount):
            raise overloaded("Too many large requests are in progress here. Try again in a moment.")
        self.used += amount

    async def wait_for(self, amount: int) -> Callable[[], None]:
        """Take it when it is free, in the order of the calls; returns what gives it back."""
        amount = min(amount, self._limit)
        if self._waiting or not self.has(amount):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((amount, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.give(amount)
                else:
                    self._serve()
                raise
        else:
            self.used += amount
        return lambda: self.give(amount)

    def give(self, amount: int) -> None:
        """Give it back."""
        self.used -= amount
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            amount, turn = self._waiting[0]
            if not turn.done():
                if not self.has(amount):
                    return
                self.used += amount
                turn.set_result(None)
            self._waiting.popleft()
