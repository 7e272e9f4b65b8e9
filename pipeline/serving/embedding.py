"""Turns the images and texts of a request into vectors: fetches, decodes, and joins them with those of others.

In: parsed items. Out: a vector for each, or what is wrong with it. The pixels, the tokens and the passes are those of
`hanclip embed`: the same functions make them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.curation.vectors import Vectors
from pipeline.errors import ImageError
from pipeline.images.decode import decode
from pipeline.serving.batcher import Batcher
from pipeline.serving.border.metrics import ServeMetrics
from pipeline.serving.contract import Encoder, Pixels
from pipeline.serving.decoding import Decoding
from pipeline.serving.errors import ApiError, of_image, unusable
from pipeline.serving.inputs.fetch import Fetcher
from pipeline.serving.inputs.items import Image, ParsedItem, Text
from pipeline.serving.settings import RequestLimits
from pipeline.vocabulary import Reason

#: Images of one request that are fetched at once, so that one request cannot take all threads.
_FETCHES = 8
#: Searches at once. An index uses several cores for one; a condition may wait for the disk.
_SEARCHES = 4
#: Reads of pictures of rows at once, which wait for their sources.
_PICTURES = 4
#: With so much less priority, a thread gets a third of the time of one that wants the same core.
_NICER = 5


@dataclass(frozen=True, slots=True)
class Embedded:
    """An item's vector.

    Attributes:
        vector: (D,) float32 of norm 1.
        tokens: of a text; 0 for an image.
        too_long: whether it is a text of which only a part was read.
    """

    vector: Vectors
    tokens: int = 0
    too_long: bool = False


Result = Embedded | ApiError


class ThreadPools:
    """The threads of a server: one for the model, some for decoding, for searches, and for pictures of rows.

    The event loop comes before all of them: where they take every core, it would wait for its turn, and clients for a
    refusal that takes no time.
    """

    def __init__(self, decoding: int) -> None:
        self.model = _threads(1, "model")
        self.decoding = _threads(decoding, "decode")
        self.searching = _threads(_SEARCHES, "search")
        self.pictures = _threads(_PICTURES, "pictures")

    def close(self) -> None:
        """End them without waiting for what they do."""
        for pool in (self.model, self.decoding, self.searching, self.pictures):
            pool.shutdown(wait=False, cancel_futures=True)


def _threads(count: int, name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix=f"hanclip-{name}", initializer=_come_after_the_loop)


def _come_after_the_loop() -> None:
    """Give the calling thread a lower priority; those that torch starts for it inherit it. Linux has one a thread."""
    with suppress(OSError):  # a sandbox may forbid it
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.nice(0) + _NICER)


class Embedding:
    """Embeds items.

    Args:
        encoder: the model.
        limits: of the server.
        threads: where it works.
        fetcher: of images.
        metrics: of the server.
        refuses_long_texts: whether a text with too many tokens is an error.

    Attributes:
        decoding: decodes images.
    """

    def __init__(
        self,
        encoder: Encoder,
        limits: RequestLimits,
        threads: ThreadPools,
        fetcher: Fetcher,
        metrics: ServeMetrics,
        refuses_long_texts: bool = False,
    ) -> None:
        self._encoder, self._limits, self._fetcher = encoder, limits, fetcher
        self._refuses_long_texts = refuses_long_texts
        self.decoding = Decoding(threads.decoding, limits)
        self._batcher = Batcher(threads.model, metrics.on_pass)
        self._image_lane = self._batcher.lane(
            "image", self._encode_images, lambda: encoder.batch_size, limits.max_waiting_images
        )
        self._text_lane = self._batcher.lane(
            "text", self._encode_texts, lambda: 4 * encoder.batch_size, limits.max_waiting_texts
        )

    @property
    def is_lost(self) -> bool:
        """Whether the device computes nothing any more."""
        return self._batcher.is_lost

    def report(self, metrics: ServeMetrics) -> None:
        """Set the gauges of the model."""
        for lane in (self._image_lane, self._text_lane):
            metrics.most_rows.set(lane.name, value=lane.most())

    async def embed(self, items: Sequence[ParsedItem]) -> list[Result]:
        """A vector for each item, or what is wrong with it, in their order; errors among the items stay.

        Raises:
            ApiError: there is no room for so many.
        """
        images = [item for item in items if isinstance(item, Image)]
        texts = [item for item in items if isinstance(item, Text)]
        with self._batcher.room(self._image_lane, len(images)), self._batcher.room(self._text_lane, len(texts)):
            if images and texts:
                found_images, found_texts = await _together(self._images(images), self._texts(texts))
            else:  # tasks would cost a small request more than its parsing
                found_images, found_texts = await self._images(images), await self._texts(texts)
        rest: dict[type[Any], Any] = {Image: iter(found_images), Text: iter(found_texts)}
        return [item if isinstance(item, ApiError) else next(rest[type(item)]) for item in items]

    async def vectors(self, items: Sequence[ParsedItem]) -> list[Embedded]:
        """The same; raises the first error."""
        return all_embedded(await self.embed(items))

    async def _images(self, images: Sequence[Image]) -> list[Result]:
        if not images:
            return []
        fetches = asyncio.Semaphore(_FETCHES)
        found = await _together(*(self._pixels(image, fetches) for image in images))
        good = [pixels for pixels in found if not isinstance(pixels, ApiError)]
        vectors = iter(await self._batcher.results(self._image_lane, good))
        return [
            one if isinstance(one, ApiError) else _finite(Embedded(next(vectors)), image.param)
            for one, image in zip(found, images, strict=True)
        ]

    async def _texts(self, texts: Sequence[Text]) -> list[Result]:
        """Equal texts are encoded once, as by `hanclip embed`."""
        distinct = list(dict.fromkeys(item.text for item in texts))
        embedded = dict(zip(distinct, await self._batcher.results(self._text_lane, distinct), strict=True))
        return [self._text_result(embedded[item.text], item.param) for item in texts]

    def _text_result(self, found: Embedded, param: str) -> Result:
        if found.too_long and self._refuses_long_texts:
            return unusable(Reason.TEXT_TOO_LONG, param)
        return _finite(found, param)

    async def _pixels(self, image: Image, fetches: asyncio.Semaphore) -> Pixels | ApiError:
        """(N, N, 3) uint8, or what is wrong with the image."""
        try:
            if image.data is not None:
                return await self.decoding.run(image.data, self._decode)
            async with fetches, self._fetcher.at_once:
                data = await self._fetcher.fetch(image.url or "", image.param)
                return await self.decoding.run(data, self._decode)
        except ImageError as error:
            return of_image(error, image.param, self._limits.max_pixels)
        except ApiError as error:
            return error

    def _decode(self, data: bytes) -> Pixels:
        return decode(data, self._encoder.image_size, self._limits.max_pixels).pixels

    def _encode_images(self, rows: Sequence[Pixels]) -> list[Vectors]:
        return list(self._encoder.encode_images(np.stack(rows)))

    def _encode_texts(self, rows: Sequence[str]) -> list[Embedded]:
        begun = self._encoder.begin_texts(rows)
        found = zip(begun.vectors(), begun.tokens.tolist(), begun.too_long.tolist(), strict=True)
        return [Embedded(vector, tokens, too_long) for vector, tokens, too_long in found]


def all_embedded(results: Sequence[Result]) -> list[Embedded]:
    """The results; raises the first error among them."""
    for result in results:
        if isinstance(result, ApiError):
            raise result
    return [result for result in results if isinstance(result, Embedded)]


def matrix(embedded: Sequence[Embedded]) -> Vectors:
    """(B, D) float32."""
    return np.stack([one.vector for one in embedded])


def _finite(found: Embedded, param: str) -> Result:
    return found if np.isfinite(found.vector).all() else unusable(Reason.NOT_FINITE, param)


async def _together(*work: Awaitable[Any]) -> list[Any]:
    """Their results; if one raises, or is cancelled, the others are cancelled."""
    if len(work) == 1:  # a task would cost a lone image more than its parsing
        return [await work[0]]
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        raise
