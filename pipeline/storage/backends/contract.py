"""What hanclip needs of a store: `Backend`, and `ObjectInfo`, which it returns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow.fs as pafs

from pipeline.storage.policy import ReadPolicy


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
