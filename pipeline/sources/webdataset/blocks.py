"""Reads the blocks of a tar for tarfile, fast, and finds a further tar behind the end of one."""

from __future__ import annotations

import tarfile
from typing import BinaryIO, Self

BLOCK = tarfile.BLOCKSIZE


class PlainHeader(tarfile.TarInfo):
    """Parses only what a member needs of a plain file's header: owners, modes and times take most of tarfile's time."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Leaves everything but plain files with a valid checksum and a size below 8 GiB to tarfile."""
        if len(buf) != BLOCK or buf[156:157] != tarfile.REGTYPE or buf[124] >= 0x80:
            return super().frombuf(buf, encoding, errors)
        try:
            # The checksum counts its own field as eight blanks. Zeros, most of a header, add nothing.
            total = sum(buf[:148].translate(None, b"\0")) + sum(buf[156:].translate(None, b"\0")) + 8 * ord(" ")
            valid = total == int(_until_zero(buf[148:156]), 8)
            size_bytes = int(_until_zero(buf[124:136]), 8)
        except ValueError:
            valid = False
        if not valid:
            return super().frombuf(buf, encoding, errors)
        folder, name = _until_zero(buf[345:500]), _until_zero(buf[:100])
        header = cls((folder + b"/" + name if folder else name).decode(encoding, errors))
        header.size = size_bytes
        return header


def _until_zero(field: bytes | bytearray) -> bytes | bytearray:
    return field.partition(b"\0")[0]


class WatchedFile:
    """A file that remembers its last read, which shows whether tarfile stopped at zeros or at garbage.

    It also tracks its position. tarfile asks for that three times per member; asking the kernel each time releases the
    interpreter lock, and with eight tars at once most of the time would go into thread switches.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._seek, self._read = file.seek, file.read
        self._at = file.tell()
        self._again = b""
        self.last = b""

    def tell(self) -> int:
        """Byte position of the next read."""
        return self._at

    def seek(self, position: int) -> int:
        """Move to `position`."""
        self._again = b""
        self._at = self._seek(position)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes; those behind zeros that a tar follows, once more."""
        self.last, self._again = self._again or self._read(size), b""
        self._at += len(self.last)
        return self.last

    def another_tar(self) -> bool:
        """Move behind zeros to a further tar, if one follows; whatever else follows is padding.

        Raises what reading the file raises.
        """
        while block := self._read(BLOCK):
            if any(block):
                self._again = block
                return _is_header(block)
            self._at += len(block)
        return False


def _is_header(block: bytes) -> bool:
    try:
        PlainHeader.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
