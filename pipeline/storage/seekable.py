"""Opens a remote object as a file, for tar headers, Parquet footers and compressed streams."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

from pipeline.storage.client_errors import translated
from pipeline.storage.listing import stat
from pipeline.storage.policy import DEFAULT_POLICY, ReadPolicy
from pipeline.storage.reading import read_range
from pipeline.storage.uris import is_local, normalise


class RangedFile(io.RawIOBase):
    """Each read is a ranged request with the usual retries."""

    def __init__(self, uri: str, size_bytes: int, policy: ReadPolicy) -> None:
        super().__init__()
        self._uri, self._size_bytes, self._policy = uri, size_bytes, policy
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move without a request."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Byte position of the next read."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` with one request; 0 at the end."""
        length = min(len(buffer), self._size_bytes - self._position)
        data = read_range(self._uri, self._position, length, self._policy)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def open_seekable(uri: str, policy: ReadPolicy = DEFAULT_POLICY, buffer_bytes: int = 2**20) -> BinaryIO:
    """Open for reading with `seek`; a remote object is fetched `buffer_bytes` at a time.

    Raises:
        StorageError: the object is missing or refused; also from every read.
    """
    uri = normalise(uri)
    if is_local(uri):
        with translated(uri):
            return open(uri, "rb", buffering=buffer_bytes)
    return cast(BinaryIO, io.BufferedReader(RangedFile(uri, stat(uri, policy).size_bytes, policy), buffer_bytes))
