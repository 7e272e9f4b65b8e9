"""Reads bodies of responses within a limit of bytes, and undoes a compression that was not asked for."""

from __future__ import annotations

import zlib

import aiohttp

from pipeline.errors import StorageError, TooLargeError
from pipeline.storage.client_errors import too_large
from pipeline.storage.uris import printable

_CHUNK_BYTES = 2**16
#: zlib's window for gzip and zlib streams, by their headers.
_GZIP_OR_ZLIB = 47


async def body_of(response: aiohttp.ClientResponse, uri: str, limit: int | None) -> bytes:
    """The whole body; reading stops as soon as `limit` is passed, whatever the headers promise.

    Raises:
        TooLargeError: it has more bytes, as sent or decompressed.
        StorageError: its compression is unknown or damaged.
    """
    if limit is not None and (response.content_length or 0) > limit:
        raise TooLargeError(too_large(printable(uri), response.content_length or 0, limit), uri)
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if limit is not None and len(body) > limit:
            raise TooLargeError(too_large(printable(uri), len(body), limit), uri)
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity") or response.status != 200:  # a range of a compressed object cannot be decompressed
        return bytes(body)
    return _decompressed(bytes(body), encoding, uri, limit)


def _decompressed(body: bytes, encoding: str, uri: str, limit: int | None) -> bytes:
    """Servers may compress although they are asked not to. Some name a compression and send the object as it is."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise StorageError(f"{printable(uri)} was sent as {encoding!r}, which hanclip did not ask for. Copy it.", uri)
    if encoding != "deflate" and not body.startswith(b"\x1f\x8b"):
        return body
    reader = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        data = reader.decompress(body, 0 if limit is None else limit + 1)
    except zlib.error as error:
        raise _damaged(uri) from error
    if limit is not None and len(data) > limit:
        raise TooLargeError(too_large(printable(uri), len(data), limit), uri)
    if not reader.eof:  # cut off by a proxy, say: such an answer may have the length that was promised
        raise _damaged(uri)
    return data


def _damaged(uri: str) -> StorageError:
    return StorageError(f"The compressed answer for {printable(uri)} is damaged. Try again.", uri)
