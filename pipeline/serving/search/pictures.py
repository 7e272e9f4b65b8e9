"""Reads the pictures of rows again from their sources, for a page.

In: keys of rows. Out: small JPEGs. Images are read as the runs that embedded them did, with their settings, and must be
the ones that were embedded. To find them takes a look at the plans of all runs, so keys that wait while others are read
go together into the next read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial

import pyarrow as pa

from pipeline.curation.originals.read import FOR_PAGES, Original, originals
from pipeline.curation.vectors import KEY
from pipeline.dataset.dataset import Dataset
from pipeline.errors import ImageError, StorageError
from pipeline.images.thumbnail import thumbnail
from pipeline.serving.decoding import Decoding
from pipeline.serving.errors import ApiError, outages_answered, store_is_away
from pipeline.sources.failures import NO_ANSWER, read_failure
from pipeline.vocabulary import Reason

#: Reads at once, and keys of each.
_READS, _TOGETHER = 3, 8
#: The picture does not exist. For other reasons it may, and its source does not give it.
_ABSENT = frozenset({Reason.NOT_FOUND, Reason.MISSING_IMAGE, Reason.CHANGED})

RowKey = tuple[str, str]
_Waiting = tuple[RowKey, "asyncio.Future[Original]"]


class RowPictures:
    """The pictures of a dataset's rows. Belongs to one event loop.

    Args:
        dataset: the dataset.
        decoding: decodes images.
        threads: where images are read.
        max_image_bytes: of an image that is read.
    """

    def __init__(self, dataset: Dataset, decoding: Decoding, threads: Executor, max_image_bytes: int) -> None:
        self._out, self._decoding, self._threads = dataset.uri, decoding, threads
        self._overrides = {**FOR_PAGES, "max_image_bytes": max_image_bytes}
        self._waiting: list[_Waiting] = []
        self._reads = 0

    async def picture(self, key: RowKey, side: int) -> bytes:
        """A JPEG of `side` x `side` pixels at most. Raises ApiError: it cannot be shown; its code says why."""
        try:
            with outages_answered(_WHAT, "id"):
                original = await self._original(key)
        except StorageError as error:
            raise _gap(read_failure(error).reason) from error
        if original.failure is not None or original.image is None:
            raise _gap(original.failure.reason if original.failure else Reason.MISSING_IMAGE)
        try:
            return await self._decoding.run(original.image, partial(thumbnail, side=side, encoding="JPEG"))
        except ImageError as error:
            raise _gap(error.reason) from error

    async def _original(self, key: RowKey) -> Original:
        turn: asyncio.Future[Original] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, turn))
        self._begin()
        return await turn

    def _begin(self) -> None:
        """Read what waits, unless enough is being read."""
        self._waiting = [(key, turn) for key, turn in self._waiting if not turn.done()]  # not those who left
        while self._waiting and self._reads < _READS:
            some, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
            self._reads += 1
            loop = asyncio.get_running_loop()
            reading = loop.run_in_executor(self._threads, self._read, some, loop)
            reading.add_done_callback(partial(self._ended, some))

    def _read(self, some: Sequence[_Waiting], loop: asyncio.AbstractEventLoop) -> None:
        columns = zip(*(key for key, _ in some), strict=True)
        rows = pa.table({name: pa.array(values, pa.string()) for name, values in zip(KEY, columns, strict=True)})
        for (_, turn), original in zip(some, originals(self._out, rows, self._overrides), strict=True):
            loop.call_soon_threadsafe(_hand_over, turn, original)

    def _ended(self, some: Sequence[_Waiting], reading: asyncio.Future[None]) -> None:
        self._reads -= 1
        error = None if reading.cancelled() else reading.exception()
        for _, turn in some:
            if error is not None and not turn.done():
                turn.set_exception(error)
        self._begin()


def _hand_over(turn: asyncio.Future[Original], original: Original) -> None:
    if not turn.done():
        turn.set_result(original)


_WHAT = "this picture"


def _gap(reason: Reason) -> ApiError:
    """The error in place of a picture. It names no address: that is a column of the row."""
    if reason in NO_ANSWER:
        return store_is_away(reason, _WHAT, "id")
    cure = "Who runs this server can see with `hanclip report` whether the sources can be read"
    message = f"The picture of this row cannot be shown: {reason.replace('_', ' ')}. {cure}."
    return ApiError(404 if reason in _ABSENT else 502, reason, message, "id")
