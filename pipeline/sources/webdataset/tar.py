"""Parses the members of a tar into keys and suffixes of WebDataset samples. Nothing is ever extracted to a disk."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from operator import attrgetter
from typing import BinaryIO, NamedTuple

from pipeline.images.formats import IMAGE_SUFFIXES
from pipeline.sources.containers.compression import STREAM_ERRORS, Codec
from pipeline.sources.texts import decode_name
from pipeline.sources.webdataset.blocks import BLOCK, PlainHeader, WatchedFile
from pipeline.vocabulary import Skip

#: Members that are a text, or columns.
TEXT_SUFFIXES = frozenset({"txt", "json"})
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
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file in a tar, or a link to one.

    Attributes:
        key: path up to the first dot of the file's name.
        suffix: everything after that dot, in lower case.
        offset: byte position of its first header.
        size_bytes: size of its content.
        end: byte position after its padded content.
        read: returns its content, once, before the next member is requested; EOFError if the tar ends inside it.
        target: path of the member that it is a link to; None for a file.
        part: number of the tar in which it is, of several concatenated ones.
    """

    key: str
    suffix: str
    name: str
    offset: int
    size_bytes: int
    end: int
    read: Callable[[], bytes]
    target: str | None = None
    part: int = 0


@dataclass(frozen=True, slots=True)
class TarDetails:
    """`SourceSpec.details` of tars.

    Attributes:
        caption_key: key of the text in .json members, used where there is no .txt.
        codecs: how the tars are compressed whose names say something else.
    """

    caption_key: str | None
    codecs: Mapping[str, Codec | None] = field(default_factory=dict)


#: Consecutive members of one sample have an equal one.
group_of = attrgetter("part", "key")


class _Place(NamedTuple):
    """Where a part of a tar starts, and its number among concatenated tars."""

    start: int
    part: int


class DamagedTarError(Exception):
    """The tar ends early, or something other than a tar header follows."""


def named_codec(uri: str) -> Codec | None:
    """How a tar is compressed according to its name."""
    return next((codec for suffix, codec in _CODECS.items() if uri.lower().endswith(suffix)), None)


def is_sequential(uri: str, details: object) -> bool:
    """Whether a tar of a scanned source is compressed, so that it can only be read from its beginning."""
    codecs = details.codecs if isinstance(details, TarDetails) else {}
    return codecs.get(uri, named_codec(uri)) is not None


def members(
    file: BinaryIO, start: int = 0, links: bool = True, skip: Callable[[Skip, str], None] = lambda kind, name: None
) -> Iterator[Member]:
    """Members that have a key, in order: files, and links to files. Concatenated tars are read to their end.

    Args:
        file: the tar, or a part of it that starts at a header.
        start: byte position of that part in the whole tar, added to every offset.
        links: yield links; otherwise they are skipped.
        skip: called with the kind and the name of each member that is left out.

    Raises:
        DamagedTarError: after the members before the damage.
    """
    watched, part = WatchedFile(file), 0
    with _damage():
        while True:
            tar = tarfile.open(fileobj=watched, mode="r:", tarinfo=PlainHeader)  # type: ignore[call-overload]  # noqa: SIM115
            at = _Place(start, part)
            while (info := tar.next()) is not None:
                tar.members.clear()
                if member := _member(tar, info, at, links, skip):
                    yield member
            if any(watched.last):
                raise DamagedTarError(f"no tar header at byte {start + tar.offset}")
            if not _another(watched):
                return
            part += 1


def _another(watched: WatchedFile) -> bool:
    """Whether a further tar follows. Damage behind the end of a whole tar is no concern of its members."""
    with suppress(DamagedTarError), _damage():
        return watched.another_tar()
    return False


@contextmanager
def _damage() -> Iterator[None]:
    """Raise damage of a stream as a DamagedTarError. An OSError with a number is the disk's, and passes."""
    try:
        yield
    except (tarfile.TarError, *STREAM_ERRORS) as error:
        raise DamagedTarError(str(error)) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise DamagedTarError(str(error)) from error


def _member(
    tar: tarfile.TarFile, info: tarfile.TarInfo, at: _Place, links: bool, skip: Callable[[Skip, str], None]
) -> Member | None:
    path = decode_name(info.name).removeprefix("./")
    folder, slash, name = path.rpartition("/")
    stem, dot, suffix = name.partition(".")
    is_file, is_link = info.type in tarfile.REGULAR_TYPES and info.sparse is None, info.type in _LINKS
    if (name.startswith("__") and name.endswith("__")) or "__MACOSX" in folder:
        return None
    if not stem or not dot:
        if is_file:
            skip(Skip.NO_SUFFIX if stem else Skip.HIDDEN, path)
        return None
    if not (is_file or (is_link and links)):
        if is_record_part(suffix.lower()):
            skip(Skip.UNFOLLOWED_LINK if is_link else Skip.SPECIAL_MEMBER, path)
        return None

    def read() -> bytes:
        try:
            with _damage():
                content = tar.extractfile(info)
                return content.read() if content else b""
        except DamagedTarError as error:
            raise EOFError(f"the tar ends inside {path}") from error

    size_bytes = 0 if is_link else info.size
    start, part = at
    end = start + info.offset_data + (size_bytes + BLOCK - 1) // BLOCK * BLOCK
    target = _target(info, folder) if is_link else None
    return Member(folder + slash + stem, suffix.lower(), path, start + info.offset, size_bytes, end, read, target, part)


def is_record_part(suffix: str) -> bool:
    """Whether a member with this suffix is an image, a text or columns."""
    return suffix in TEXT_SUFFIXES or suffix.rpartition(".")[2] in IMAGE_SUFFIXES


def _target(info: tarfile.TarInfo, folder: str) -> str:
    """The member that a link points to: a hard link has its path in the tar, a symbolic link a relative one."""
    target = decode_name(info.linkname)
    return posixpath.normpath(posixpath.join(folder, target) if info.issym() else target)
