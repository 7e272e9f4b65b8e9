"""Reads http and https within limits of bytes and time, and keeps untrusted URLs away from private networks.

`TRUSTED` serves addresses that the user typed. `GUARDED` serves those found in tables: it refuses every address that is
not public, at connect time and again after each redirect, which are followed here one by one.
"""

from __future__ import annotations

import asyncio
import atexit
import socket
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import fsspec
import pyarrow.fs as pafs
from yarl import URL

from pipeline.errors import BadUriError, StorageError, TooLargeError
from pipeline.storage.backends.contract import ObjectInfo
from pipeline.storage.backends.public_addresses import PublicResolver, RefusedHostError, refuse_literal, refused
from pipeline.storage.client_errors import HttpStatusError, too_large
from pipeline.storage.policy import DEFAULT_POLICY, ReadPolicy
from pipeline.storage.uris import printable

T = TypeVar("T")

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_PER_HOST = 16
_CHUNK_BYTES = 2**16
_CONNECT_S = 10.0


_STARTING = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of this process. The lock is needed: with `cache` alone, two first threads start two loops."""
    with _STARTING:
        return _started_loop()


@cache
def _started_loop() -> asyncio.AbstractEventLoop:
    """An event loop in its own thread."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="hanclip-http", daemon=True).start()
    return loop


class HttpBackend:
    """Blocking calls into the event loop, one at a time per calling thread."""

    def __init__(self, guarded: bool) -> None:
        self._guarded = guarded
        self._session: aiohttp.ClientSession | None = None
        self._slots: dict[str, asyncio.Semaphore] = {}

    def stat(self, uri: str, policy: ReadPolicy) -> ObjectInfo:
        """HEAD; if that is not allowed (presigned URLs), a GET whose body is not read."""
        return _wait(self._stat(uri, policy), uri)

    def walk(self, uri: str) -> Iterator[ObjectInfo]:
        """Yields nothing: http has no folders."""
        return iter(())

    def get(self, uri: str, policy: ReadPolicy) -> bytes:
        """One GET; stops as soon as the limit of bytes is passed, whatever the headers promise."""
        return _wait(self._get(uri, policy, {}, (200,)), uri)

    def get_range(self, uri: str, start: int, length: int, policy: ReadPolicy) -> bytes:
        """One ranged GET; a server that ignores the range is an error, not a download of everything."""
        headers = {"Range": f"bytes={start}-{start + length - 1}"}
        return _wait(self._get(uri, policy, headers, (206, 416), length), uri)

    def put(self, uri: str, data: bytes, create: bool, policy: ReadPolicy) -> None:
        """Not supported."""
        raise StorageError(f"{printable(uri)} cannot be written: http is read-only. Give a folder or a bucket.", uri)

    def upload(self, uri: str, file: Path) -> None:
        """Not supported."""
        self.put(uri, b"", False, DEFAULT_POLICY)

    def delete(self, uri: str) -> None:
        """Not supported."""
        raise StorageError(f"{printable(uri)} cannot be deleted: http is read-only. Give a folder or a bucket.", uri)

    def filesystem(self, uri: str) -> tuple[pafs.FileSystem, str]:
        """Fsspec's http file system, wrapped for Arrow."""
        return pafs.PyFileSystem(pafs.FSSpecHandler(fsspec.filesystem("http"))), uri

    async def _stat(self, uri: str, policy: ReadPolicy) -> ObjectInfo:
        async with self._request("HEAD", uri, policy, {}) as response:
            if response.status not in (403, 405, 501):
                return _info(uri, response)
        async with self._request("GET", uri, policy, {}) as response:
            return _info(uri, response)

    async def _get(
        self, uri: str, policy: ReadPolicy, headers: dict[str, str], good: tuple[int, ...], length: int | None = None
    ) -> bytes:
        limit = length if length is not None else policy.max_bytes
        async with self._request("GET", uri, policy, headers) as response:
            if response.status not in good:
                raise HttpStatusError(response.status)
            if response.status == 416:
                return b""
            if limit is not None and (response.content_length or 0) > limit:
                raise TooLargeError(too_large(printable(uri), response.content_length or 0, limit), uri)
            body = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                body += chunk
                if limit is not None and len(body) > limit:
                    raise TooLargeError(too_large(printable(uri), len(body), limit), uri)
            return bytes(body)

    @asynccontextmanager
    async def _request(
        self, method: str, uri: str, policy: ReadPolicy, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The final response after at most five redirects; the deadline covers all of them and the body.

        One host gets at most 16 requests at once; waiting for a slot does not count against the deadline.
        """
        url = URL(uri)
        slot = self._slots.setdefault(url.authority, asyncio.Semaphore(_PER_HOST))
        async with slot, asyncio.timeout(policy.timeout_s):
            for _ in range(_MAX_REDIRECTS + 1):
                if url.scheme not in ("http", "https") or not url.host:
                    raise BadUriError(
                        f"{printable(uri)} does not lead to an http(s) address. Correct it in the table.", uri
                    )
                if self._guarded:
                    refuse_literal(url)
                async with self._open().request(method, url, headers=headers, allow_redirects=False) as response:
                    if response.status not in _REDIRECTS or "Location" not in response.headers:
                        yield response
                        return
                    url = url.join(URL(response.headers["Location"]))
            raise StorageError(f"{printable(uri)} redirects more than {_MAX_REDIRECTS} times. Correct it.", uri)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = PublicResolver() if self._guarded else None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, resolver=resolver),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=_CONNECT_S),
                headers={"Accept-Encoding": "identity", "User-Agent": "hanclip"},
                auto_decompress=False,
            )
            atexit.register(self._close)
        return self._session

    def _close(self) -> None:
        if self._session is not None:
            asyncio.run_coroutine_threadsafe(self._session.close(), _loop()).result(timeout=5)


def _info(uri: str, response: aiohttp.ClientResponse) -> ObjectInfo:
    if response.status != 200:
        raise HttpStatusError(response.status)
    size_bytes = response.content_length
    if size_bytes is None:
        raise StorageError(f"{printable(uri)} has no Content-Length. Copy it to a disk or a bucket first.", uri)
    mark = response.headers.get("ETag", "").strip('"') or f"{size_bytes}-{response.headers.get('Last-Modified', '')}"
    return ObjectInfo(uri, size_bytes, mark)


def _wait(work: Coroutine[Any, Any, T], uri: str) -> T:
    """Run in the loop's thread; aiohttp's errors become errors of the operating system or of hanclip."""
    try:
        return asyncio.run_coroutine_threadsafe(work, _loop()).result()
    except RefusedHostError as error:
        raise refused(printable(uri), uri, str(error)) from error
    except aiohttp.InvalidURL as error:
        raise ValueError("not a URL") from error
    except aiohttp.ClientConnectorDNSError as error:
        cause = error.os_error
        if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN:
            raise ConnectionError("dns error") from error
        raise FileNotFoundError("no such host") from error
    except aiohttp.ClientSSLError as error:
        raise StorageError(f"{printable(uri)} has no valid TLS certificate. Correct the address.", uri) from error
    except TimeoutError:
        raise
    except aiohttp.ClientError as error:
        raise ConnectionError(type(error).__name__) from error


TRUSTED = HttpBackend(guarded=False)
GUARDED = HttpBackend(guarded=True)
