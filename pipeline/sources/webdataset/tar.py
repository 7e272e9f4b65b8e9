"""Members of a tar, grouped into WebDataset samples. Bytes in, samples out; nothing is ever extracted to a disk."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Self, cast

from pipeline.records import Record

BLOCK = tarfile.BLOCKSIZE
COMPRESSED_SUFFIXES = (".tar.gz", ".tgz")
TAR_SUFFIXES = (".tar", *COMPRESSED_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file in a tar.

    Attributes:
        key: path up to the first dot of the file's name.
        suffix: everything behind that dot, in lower case.
        offset: byte position of its first header.
        size_bytes: of its content.
        end: byte position behind its padded content.
        read: gives its content, once, before the next member is asked for; EOFError when the tar ends inside it.
    """

    key: str
    suffix: str
    name: str
    offset: int
    size_bytes: int
    end: int
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class TarDetails:
    """`SourceSpec.details` of tars: the key of the text in .json members, used where there is no .txt."""

    caption_key: str | None


class DamagedTarError(Exception):
    """The tar ends in the middle, or goes on with something that is no tar header."""


def damage_id(name: str) -> str:
    """Id of the record that stands for what a damaged tar does not give; no sample's key has a dot in that place."""
    return f"{name}#damaged"


def is_damage(record: Record) -> bool:
    """Whether a record is such a one. Its position is where the damage begins, its size what lies behind, if known."""
    tar, mark, rest = record.id.rpartition("#damaged")
    return bool(mark) and not rest and tar.lower().endswith(TAR_SUFFIXES)


def is_compressed(uri: str) -> bool:
    """Whether a tar's name says that it is gzipped."""
    return uri.lower().endswith(COMPRESSED_SUFFIXES)


def decompressed(file: BinaryIO, uri: str) -> BinaryIO:
    """`file` itself, or its gunzipped stream, which is read forwards only."""
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if is_compressed(uri) else file


def members(file: BinaryIO, start: int = 0) -> Iterator[Member]:
    """Regular members that have a key, in order.

    Args:
        file: the tar, or a part of it that begins at a header.
        start: byte position of `file`'s beginning in the whole tar, added to every offset.

    Raises:
        DamagedTarError: at the point of the damage, after the members before it.
    """
    try:
        watched = _Watched(file)
        tar = tarfile.open(fileobj=watched, mode="r:", tarinfo=_Header)  # type: ignore[call-overload]  # noqa: SIM115
        while (info := tar.next()) is not None:
            tar.members.clear()
            if info.isfile() and (member := _member(tar, info, start)):
                yield member
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DamagedTarError(str(error)) from error
    if any(watched.last):
        raise DamagedTarError(f"no tar header at byte {start + tar.offset}")


def _member(tar: tarfile.TarFile, info: tarfile.TarInfo, start: int) -> Member | None:
    path = _text(info.name).removeprefix("./")
    folder, slash, name = path.rpartition("/")
    stem, dot, suffix = name.partition(".")
    if not stem or not dot or (name.startswith("__") and name.endswith("__")) or "__MACOSX" in folder:
        return None

    def read() -> bytes:
        content = tar.extractfile(info)
        try:
            return content.read() if content else b""
        except (tarfile.TarError, zlib.error, gzip.BadGzipFile) as error:
            raise EOFError(f"the tar ends inside {path}") from error

    end = info.offset_data + (info.size + BLOCK - 1) // BLOCK * BLOCK
    return Member(folder + slash + stem, suffix.lower(), path, start + info.offset, info.size, start + end, read)


def _text(name: str) -> str:
    """A member's name; bytes that are no UTF-8 are taken for GB18030, as Chinese Windows writes them."""
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("gb18030", "backslashreplace")


class _Header(tarfile.TarInfo):
    """Of an ordinary file's header, only what a member needs: owners, modes and times take most of tarfile's time."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Whatever is no ordinary file with a sound checksum and a size below 8 GiB is left to tarfile."""
        if len(buf) != BLOCK or buf[156:157] != tarfile.REGTYPE or buf[124] >= 0x80:
            return super().frombuf(buf, encoding, errors)
        try:
            # The checksum counts its own place as eight blanks. Zeros add nothing, and most of a header is zeros.
            total = sum(buf[:148].translate(None, b"\0")) + sum(buf[156:].translate(None, b"\0")) + 8 * ord(" ")
            sound = total == int(_until_zero(buf[148:156]), 8)
            size_bytes = int(_until_zero(buf[124:136]), 8)
        except ValueError:
            sound = False
        if not sound:
            return super().frombuf(buf, encoding, errors)
        folder, name = _until_zero(buf[345:500]), _until_zero(buf[:100])
        header = cls((folder + b"/" + name if folder else name).decode(encoding, errors))
        header.size = size_bytes
        return header


def _until_zero(field: bytes | bytearray) -> bytes | bytearray:
    return field.partition(b"\0")[0]


class _Watched:
    """A file that remembers its last read: what tarfile took for the end, zeros or not.

    It also counts its position. tarfile asks for that three times a member, and a file would ask the kernel each time,
    which lets another thread go first: with eight tars at once most of the time would go into taking turns.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._seek, self._read = file.seek, file.read
        self._at = file.tell()
        self.last = b""

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> int:
        self._at = self._seek(position)
        return self._at

    def read(self, size: int = -1) -> bytes:
        self.last = self._read(size)
        self._at += len(self.last)
        return self.last
