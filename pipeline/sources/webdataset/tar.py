"""Parses the members of a tar into keys and suffixes of WebDataset samples. Nothing is ever extracted to a disk."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Self

from pipeline.sources.containers.compression import STREAM_ERRORS, Codec

BLOCK = tarfile.BLOCKSIZE
_CODECS = {
    ".tar": None,
    ".tar.gz": Codec.GZIP,
    ".tgz": Codec.GZIP,
    ".tar.bz2": Codec.BZIP2,
    ".tbz": Codec.BZIP2,
    ".tbz2": Codec.BZIP2,
    ".tar.xz": Codec.XZ,
    ".txz": Codec.XZ,
    ".tar.zst": Codec.ZSTD,
    ".tzst": Codec.ZSTD,
}
TAR_SUFFIXES = tuple(_CODECS)


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file in a tar.

    Attributes:
        key: path up to the first dot of the file's name.
        suffix: everything after that dot, in lower case.
        offset: byte position of its first header.
        size_bytes: size of its content.
        end: byte position after its padded content.
        read: returns its content, once, before the next member is requested; EOFError if the tar ends inside it.
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
    """`SourceSpec.details` of tars.

    Attributes:
        caption_key: key of the text in .json members, used where there is no .txt.
        codecs: how the tars are compressed whose names say something else.
    """

    caption_key: str | None
    codecs: Mapping[str, Codec | None] = field(default_factory=dict)


class DamagedTarError(Exception):
    """The tar ends early, or something other than a tar header follows."""


def named_codec(uri: str) -> Codec | None:
    """How a tar is compressed according to its name."""
    return next((codec for suffix, codec in _CODECS.items() if uri.lower().endswith(suffix)), None)


def is_sequential(uri: str, details: object) -> bool:
    """Whether a tar of a scanned source is compressed, so that it can only be read from its beginning."""
    codecs = details.codecs if isinstance(details, TarDetails) else {}
    return codecs.get(uri, named_codec(uri)) is not None


def members(file: BinaryIO, start: int = 0) -> Iterator[Member]:
    """Regular members that have a key, in order.

    Args:
        file: the tar, or a part of it that starts at a header.
        start: byte position of that part in the whole tar, added to every offset.

    Raises:
        DamagedTarError: after the members before the damage.
    """
    try:
        watched = _Watched(file)
        tar = tarfile.open(fileobj=watched, mode="r:", tarinfo=_Header)  # type: ignore[call-overload]  # noqa: SIM115
        while (info := tar.next()) is not None:
            tar.members.clear()
            if info.isfile() and (member := _member(tar, info, start)):
                yield member
    except (tarfile.TarError, *STREAM_ERRORS) as error:
        raise DamagedTarError(str(error)) from error
    except OSError as error:
        if error.errno is not None:  # the disk's, which says nothing about the tar
            raise
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
        except (tarfile.TarError, *STREAM_ERRORS) as error:
            raise EOFError(f"the tar ends inside {path}") from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise EOFError(f"the tar ends inside {path}") from error

    end = info.offset_data + (info.size + BLOCK - 1) // BLOCK * BLOCK
    return Member(folder + slash + stem, suffix.lower(), path, start + info.offset, info.size, start + end, read)


def _text(name: str) -> str:
    """A member's name; bytes that are not UTF-8 are decoded as GB18030, which Chinese Windows writes."""
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("gb18030", "backslashreplace")


class _Header(tarfile.TarInfo):
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


class _Watched:
    """A file that remembers its last read, which shows whether tarfile stopped at zeros or at garbage.

    It also tracks its position. tarfile asks for that three times per member; asking the kernel each time releases the
    interpreter lock, and with eight tars at once most of the time would go into thread switches.
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
