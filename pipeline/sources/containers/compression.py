"""Recognises how a file is compressed from its first bytes, whatever its name says, and decompresses it as a stream.

In: an open file. Out: its codec, and a forward-only file of the decompressed bytes. Concatenated streams are one.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from enum import StrEnum
from typing import BinaryIO, cast

import pyarrow as pa

#: Bytes from the beginning of a file that show how it is compressed.
HEAD_BYTES = 512

#: Endings of the names of compressed files.
SUFFIXES = (".gz", ".bz2", ".xz", ".zst")

#: What reading a damaged stream raises, besides an OSError without an error number.
STREAM_ERRORS = (EOFError, zlib.error, lzma.LZMAError)


class Codec(StrEnum):
    """How a file is compressed."""

    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"


#: Parallel compressors write zstd frames that are skipped in front of the first one.
_MAGIC = (
    (Codec.GZIP, re.compile(rb"\x1f\x8b\x08")),
    (Codec.BZIP2, re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")),
    (Codec.XZ, re.compile(rb"\xfd7zXZ\x00")),
    (Codec.ZSTD, re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")),
)


def codec_of(head: bytes) -> Codec | None:
    """The codec of a file that starts with `head`; None for one that is not compressed."""
    return next((codec for codec, magic in _MAGIC if magic.match(head)), None)


def find_codec(file: BinaryIO) -> Codec | None:
    """The codec of `file`, which stays at its beginning."""
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return codec_of(head)


def decompressed(file: BinaryIO, codec: Codec | None) -> BinaryIO:
    """`file` itself, or its decompressed stream, in which seeking back is slow or not possible.

    Reading damage raises one of `STREAM_ERRORS`, or an OSError without an error number.
    """
    if codec is None:
        return file
    if codec is Codec.GZIP:
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if codec is Codec.BZIP2:
        return cast(BinaryIO, bz2.BZ2File(file))
    if codec is Codec.XZ:
        return cast(BinaryIO, lzma.LZMAFile(file))
    return cast(BinaryIO, io.BufferedReader(_ZstdStream(file), 2**16))


class _Borrowed:
    """What Arrow needs of a file to read it; Arrow closes its files, and this one is the caller's."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read

    def close(self) -> None:
        """Leave the file open."""


class _ZstdStream(io.RawIOBase):
    """Arrow's decompressor as a file that can be moved forward."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._stream = pa.CompressedInputStream(pa.PythonFile(_Borrowed(file), "r"), Codec.ZSTD.value)
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Forward only."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill `buffer`; 0 at the end."""
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Read on to a later position."""
        target = offset + (self._position if whence == io.SEEK_CUR else 0)
        if whence == io.SEEK_END or target < self._position:
            raise io.UnsupportedOperation("a zstd stream cannot be read backwards")
        while self._position < target and (data := self._stream.read(min(2**20, target - self._position))):
            self._position += len(data)
        return self._position

    def tell(self) -> int:
        """Byte position of the next read."""
        return self._position
