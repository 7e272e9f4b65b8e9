"""The contract of a store: `Backend`, and the `ObjectInfo` that it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pipeline.storage.policy import ReadPolicy
from pipeline.vocabulary import Skip

if TYPE_CHECKING:
    import pyarrow.fs as pafs

#: Takes the kind and the address of each entry that a listing leaves out.
OnSkip = Callable[[Skip, str], None]


class ObjectInfo(NamedTuple):
    """One object: address, size, and a value that changes with its content (etag, or size and mtime)."""

    uri: str
    size_bytes: int
    fingerprint: str


class Backend(Protocol):
    """Each method makes one attempt and raises the client's own errors; callers retry and translate.

    Every `uri` is normalised.
    """

    def stat(self, uri: str, policy: ReadPolicy) -> ObjectInfo:
        """Size and fingerprint of one object; FileNotFoundError for folders."""

    def walk(self, uri: str, skip: OnSkip | None) -> Iterator[ObjectInfo]:
        """Every object under the folder `uri`, streamed; nothing if there is none.

        What is below `uri` and cannot be read goes to `skip`; without it, it is an error that names the entry.
        """

    def get(self, uri: str, policy: ReadPolicy) -> bytes:
        """The whole object; TooLargeError before more than `policy.max_bytes` are in memory."""

    def get_range(self, uri: str, start: int, length: int, policy: ReadPolicy) -> bytes:
        """`length` bytes from `start`, fewer where the object ends."""

    def put(self, uri: str, data: bytes, create: bool, policy: ReadPolicy) -> None:
        """Write whole or not at all.

        With `create`, FileExistsError if the name is taken, or may be: the caller looks what is there.
        """

    def upload(self, uri: str, file: Path) -> None:
        """Replace the object with a local file, whole or not at all."""

    def delete(self, uri: str) -> None:
        """Delete one object; no error if it does not exist."""

    def filesystem(self, uri: str) -> tuple[pafs.FileSystem, str]:
        """Arrow's view of the store, and the path of `uri` in it."""
