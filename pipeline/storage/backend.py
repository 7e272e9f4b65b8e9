"""What hanclip needs of a store, and which of the four implementations serves an address.

Backends raise foreign errors; `translated` and `with_retries` stand around every call.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow.fs as pafs

from pipeline.storage.policy import ReadPolicy
from pipeline.storage.uris import HTTP_SCHEMES, OBJECT_SCHEMES, is_local, scheme


class ObjectInfo(NamedTuple):
    """One object: where, how large, and a value that changes when its content does (etag, or size and mtime)."""

    uri: str
    size_bytes: int
    fingerprint: str


class Backend(Protocol):
    """One attempt each, no retries. `uri` is normalised."""

    def stat(self, uri: str, policy: ReadPolicy) -> ObjectInfo:
        """Size and fingerprint of one object; FileNotFoundError for folders."""

    def walk(self, uri: str) -> Iterator[ObjectInfo]:
        """Every object under the folder `uri`, streamed; nothing when there is none."""

    def get(self, uri: str, policy: ReadPolicy) -> bytes:
        """The whole object; TooLargeError before more than `policy.max_bytes` are held."""

    def get_range(self, uri: str, start: int, length: int, policy: ReadPolicy) -> bytes:
        """`length` bytes from `start`, fewer where the object ends."""

    def put(self, uri: str, data: bytes, create: bool, policy: ReadPolicy) -> None:
        """Write whole or not at all; with `create`, FileExistsError or its like when the name is taken."""

    def upload(self, uri: str, file: Path) -> None:
        """Replace the object by a file of this machine, whole or not at all."""

    def delete(self, uri: str) -> None:
        """Remove one object; no error when it is gone."""

    def filesystem(self, uri: str) -> tuple[pafs.FileSystem, str]:
        """Arrow's view of the store, and the path of `uri` in it."""


def backend_for(uri: str) -> Backend:
    """The implementation that serves `uri`. Each loads its client when first used."""
    if is_local(uri):
        from pipeline.storage.local import LOCAL

        return LOCAL
    if scheme(uri) in OBJECT_SCHEMES:
        from pipeline.storage.objects import OBJECTS

        return OBJECTS
    if scheme(uri) in HTTP_SCHEMES:
        from pipeline.storage.http import TRUSTED

        return TRUSTED
    from pipeline.storage.other import OTHER

    return OTHER
