"""Decodes encoded images in the server's threads, within its budget of pixels.

In: bytes, and a function that decodes them. Out: its result. Images with many pixels wait until memory is free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from pipeline.images.opening import pixel_count
from pipeline.serving.border.budget import Budget
from pipeline.serving.settings import RequestLimits

T = TypeVar("T")

#: Images with more pixels wait until memory for them is free. Of smaller ones each thread has one.
_SMALL_PIXELS = 4_000_000


@dataclass(frozen=True, slots=True)
class _Decoded(Generic[T]):
    result: T


class Decoding:
    """Decodes images.

    Args:
        threads: where.
        limits: of the server.

    Attributes:
        pixels_at_once: those of large images that are decoded.
    """

    def __init__(self, threads: Executor, limits: RequestLimits) -> None:
        self._threads, self._max_pixels = threads, limits.max_pixels
        self.pixels_at_once = Budget(limits.max_pixels_at_once)

    async def run(self, data: bytes, decode: Callable[[bytes], T]) -> T:
        """The result of `decode`. Raises ImageError, also if the image has more pixels than the server takes."""
        found = await self._in_thread(partial(self._decoded_if_small, data, decode))
        if isinstance(found, _Decoded):
            return found.result
        give_back = await self.pixels_at_once.wait_for(found)
        return await self._in_thread(partial(decode, data), give_back)

    def _decoded_if_small(self, data: bytes, decode: Callable[[bytes], T]) -> _Decoded[T] | int:
        """The result, or of a large image the number of its pixels."""
        count = pixel_count(data, self._max_pixels)
        return _Decoded(decode(data)) if count <= _SMALL_PIXELS else count

    async def _in_thread(self, work: Callable[[], T], afterwards: Callable[[], None] | None = None) -> T:
        """The result of `work`. `afterwards` is called when the thread has ended it, even if nobody waits any more."""
        loop = asyncio.get_running_loop()
        done = self._threads.submit(work)
        if afterwards is not None:
            done.add_done_callback(lambda _: loop.call_soon_threadsafe(afterwards))
        return await asyncio.wrap_future(done)
