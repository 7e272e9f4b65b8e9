"""Runs aiohttp's coroutines for blocking callers, in one event loop of this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

#: Host names are looked up in threads. With few of them, names without an answer would delay all others.
_LOOKUPS = 64

_STARTING = threading.Lock()


def run(work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
    """The result of `work`, or its exception."""
    return asyncio.run_coroutine_threadsafe(work, the_loop()).result(timeout_s)


def the_loop() -> asyncio.AbstractEventLoop:
    """The event loop of this process. The lock is needed: with `cache` alone, two first threads start two loops."""
    with _STARTING:
        return _started_loop()


@cache
def _started_loop() -> asyncio.AbstractEventLoop:
    """An event loop in its own thread."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="hanclip-lookup"))
    threading.Thread(target=loop.run_forever, name="hanclip-http", daemon=True).start()
    return loop
