"""Reads http and https within limits of bytes and time, and keeps untrusted URLs away from private networks.

`TRUSTED` serves addresses that the user typed. `GUARDED` serves those found in tables: it refuses every address that is
not public, at connect time and again after each redirect, which are followed here one by one.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import fsspec
import pyarrow.fs as pafs

from pipeline.errors import DisallowedError, StorageError
from pipeline.storage.backends.contract import ObjectInfo, OnSkip
from pipeline.storage.backends.http import loop
from pipeline.storage.backends.http.bodies import body_of
from pipeline.storage.backends.http.client import Headers, HttpClient
from pipeline.storage.backends.http.failures import translated_client_errors
from pipeline.storage.backends.http.robots import forbidding
from pipeline.storage.backends.http.urls import HttpUrl
from pipeline.storage.client_errors import HttpStatusError
from pipeline.storage.policy import DEFAULT_POLICY, ReadPolicy
from pipeline.storage.uris import printable

T = TypeVar("T")


class HttpBackend:
    """Blocking calls into the event loop, one at a time per calling thread."""

    def __init__(self, guarded: bool) -> None:
        self._client = HttpClient(guarded)

    def stat(self, uri: str, policy: ReadPolicy) -> ObjectInfo:
        """HEAD; if that is not allowed (presigned URLs), a GET whose body is not read."""
        return _wait(self._stat(uri, policy), uri)

    def walk(self, uri: str, skip: OnSkip | None) -> Iterator[ObjectInfo]:
        """Yields nothing: http has no folders."""
        return iter(())

    def get(self, uri: str, policy: ReadPolicy) -> bytes:
        """One GET; stops as soon as the limit of bytes is passed, whatever the headers promise."""
        return _wait(self._get(uri, policy, [], (200,)), uri)

    def get_range(self, uri: str, start: int, length: int, policy: ReadPolicy) -> bytes:
        """One ranged GET; a server that ignores the range is an error, not a download of everything."""
        headers = [("Range", f"bytes={start}-{start + length - 1}")]
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
        files = fsspec.filesystem("http", encoded=True)
        return pafs.PyFileSystem(pafs.FSSpecHandler(files)), str(HttpUrl.parse(uri))

    async def _stat(self, uri: str, policy: ReadPolicy) -> ObjectInfo:
        async with self._client.request("HEAD", uri, policy, []) as response:
            if response.status not in (403, 405, 501):
                return _info(uri, response)
        async with self._client.request("GET", uri, policy, []) as response:
            return _info(uri, response)

    async def _get(
        self, uri: str, policy: ReadPolicy, headers: Headers, good: tuple[int, ...], length: int | None = None
    ) -> bytes:
        limit = length if length is not None else policy.max_bytes
        async with self._client.request("GET", uri, policy, headers) as response:
            if response.status not in good:
                raise HttpStatusError(response.status, retry_after_s=_retry_after_s(response))
            if response.status == 416:
                return b""
            if policy.respect_robots_tag and response.status == 200:
                _check_robots_tag(response, uri)
            return await body_of(response, uri, limit)


def _info(uri: str, response: aiohttp.ClientResponse) -> ObjectInfo:
    if response.status != 200:
        raise HttpStatusError(response.status)
    size_bytes = response.content_length
    if size_bytes is None:
        raise StorageError(f"{printable(uri)} has no Content-Length. Copy it to a disk or a bucket first.", uri)
    mark = response.headers.get("ETag", "").strip('"') or f"{size_bytes}-{response.headers.get('Last-Modified', '')}"
    return ObjectInfo(uri, size_bytes, mark)


def _check_robots_tag(response: aiohttp.ClientResponse, uri: str) -> None:
    robot = response.request_info.headers.get("User-Agent", "").partition("/")[0]
    if directive := forbidding(response.headers.getall("X-Robots-Tag", []), robot):
        raise DisallowedError(
            f"The server of {printable(uri)} sends X-Robots-Tag: {directive}. Leave out --respect-robots-tag if you "
            "may use it.",
            uri,
        )


def _retry_after_s(response: aiohttp.ClientResponse) -> float:
    """The seconds of a `Retry-After` header, which may also be a date; 0 without one."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _wait(work: Coroutine[Any, Any, T], uri: str) -> T:
    with translated_client_errors(uri):
        return loop.run(work)


TRUSTED = HttpBackend(guarded=False)
GUARDED = HttpBackend(guarded=True)
