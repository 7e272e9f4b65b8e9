"""Fetches the images that requests name by URL: within a deadline, without retries, from public addresses alone.

Reads block a thread each, so there are as many at once as threads. What a client can name is http(s) only: the parser
of items refuses everything else that `pipeline.storage` reads, which checks addresses when it connects and after each
redirect.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pipeline import storage
from pipeline.errors import StorageError
from pipeline.serving.errors import ErrorCode, of_fetch, refused
from pipeline.serving.settings import ImageUrls
from pipeline.storage import ReadPolicy

_AT_ONCE = 32


def fetch_policy(images: ImageUrls, max_bytes: int) -> ReadPolicy:
    """How images are read."""
    return replace(
        storage.DEFAULT_POLICY,
        timeout_s=images.fetch_timeout_s,
        retry_timeout_s=0,
        concurrency=1,
        max_bytes=max_bytes,
        allowed_hosts=images.allowed_image_hosts,
    )


class Fetcher:
    """Fetches images.

    Args:
        policy: how; None: not at all.
        on_fetch: called with the seconds of each.

    Attributes:
        at_once: bounds the images that are being fetched, or were and are not decoded yet.
    """

    def __init__(self, policy: ReadPolicy | None, on_fetch: Callable[[float], None] = lambda _: None) -> None:
        self._policy, self._on_fetch = policy, on_fetch
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="hanclip-fetch")
        self.at_once = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, url: str, param: str) -> bytes:
        """The bytes behind an http(s) URL. Raises ApiError, which names `param`."""
        policy = self._policy
        if policy is None:
            cure = "Send the image itself, as a data URI"
            raise refused(ErrorCode.URLS_NOT_ALLOWED, f"{param}: this server fetches no images. {cure}.", param)
        began_s = time.monotonic()
        (found,) = await asyncio.get_running_loop().run_in_executor(self._threads, storage.read_many, [url], policy)
        self._on_fetch(time.monotonic() - began_s)
        if isinstance(found, StorageError):
            raise of_fetch(found, param, policy.max_bytes or 0) from found
        return found

    def close(self) -> None:
        """End its threads; what they fetch is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
