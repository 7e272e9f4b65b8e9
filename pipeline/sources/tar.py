"""Members of a tar, grouped into WebDataset samples. Bytes in, samples out; nothing is ever extracted to a disk."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from pipeline.batch import Record

BLOCK = tarfile.BLOCKSIZE


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


class DamagedTarError(Exception):
    """The tar ends in the middle, or goes on with something that is no tar header."""


def damage_id(name: str) -> str:
    """Id of the record that stands for what a damaged tar does not give; no sample's key has a dot in that place."""
    return f"{name}#damaged"


def is_damage(record: Record) -> bool:
    """Whether a record is such a one. Its position is where the damage begins, its size what lies behind, if known."""
    tar, mark, rest = record.id.rpartition("#damaged")
    return bool(mark) and not rest and tar.lower().endswith((".tar", ".gz", ".tgz"))


def is_compressed(uri: str) -> bool:
    """Whether a tar's name says that it is gzipped."""
    return uri.lower().endswith((".gz", ".tgz"))


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
        tar = tarfile.open(fileobj=watched, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115
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


class _Watched:
    """A file that remembers its last read: what tarfile took for the end, zeros or not."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        self.last = self._read(size)
        return self.last
