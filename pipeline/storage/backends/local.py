"""Local files, with plain system calls."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING

from pipeline.errors import TooLargeError
from pipeline.storage.backends.contract import ObjectInfo, OnSkip
from pipeline.storage.backends.staged import staged
from pipeline.storage.client_errors import too_large, translate
from pipeline.storage.policy import ReadPolicy
from pipeline.vocabulary import Skip

if TYPE_CHECKING:
    import pyarrow.fs as pafs

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
#: What is wrong with one entry. Other errors, such as a stale handle of NFS, concern the whole disk.
_UNREADABLE = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.EIO, errno.EINVAL})
_COPIED_BYTES = 2**20
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class LocalBackend:
    """Writes a hidden file in the same folder, then hard-links or renames it to its final name."""

    def stat(self, uri: str, policy: ReadPolicy) -> ObjectInfo:
        """Size and mtime of a regular file."""
        info = os.stat(uri)
        if not S_ISREG(info.st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a regular file", uri)
        return ObjectInfo(uri, info.st_size, f"{info.st_size}-{info.st_mtime_ns}")

    def walk(self, uri: str, skip: OnSkip | None) -> Iterator[ObjectInfo]:
        """Regular files under `uri`. Links to files are followed; hidden names and links to folders are left out."""
        folders = [uri]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.name.startswith("."):
                            _report(skip, Skip.HIDDEN, entry.path)
                        elif entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        elif found := _file(entry, skip):
                            yield found
            except OSError as error:
                if folder == uri:
                    raise
                _left_out(error, folder, Skip.UNREADABLE_FOLDER, skip)

    def get(self, uri: str, policy: ReadPolicy) -> bytes:
        """The file, after a check of its kind and size: pipes and devices may have no end."""
        with open(uri, "rb", buffering=0, opener=_open_at_once) as file:
            info = os.fstat(file.fileno())
            if not S_ISREG(info.st_mode):
                raise FileNotFoundError(errno.ENOENT, "not a regular file", uri)
            if policy.max_bytes is not None and info.st_size > policy.max_bytes:
                raise TooLargeError(too_large(uri, info.st_size, policy.max_bytes), uri)
            return file.readall()

    def get_range(self, uri: str, start: int, length: int, policy: ReadPolicy) -> bytes:
        """A slice of the file."""
        with open(uri, "rb", buffering=0) as file:
            file.seek(start)
            chunks = []
            while length > 0 and (chunk := file.read(length)):
                chunks.append(chunk)
                length -= len(chunk)
        return b"".join(chunks)

    def put(self, uri: str, data: bytes, create: bool, policy: ReadPolicy) -> None:
        """Stage in the same folder, then link or rename."""
        os.makedirs(os.path.dirname(uri), exist_ok=True)
        with staged(uri) as target:
            target.write(data)
            target.flush()
            os.fsync(target.fileno())
            publish(target.name, uri, create)

    def upload(self, uri: str, file: Path) -> None:
        """Copy into the same folder, then rename: the file may be on another disk."""
        os.makedirs(os.path.dirname(uri), exist_ok=True)
        with staged(uri) as target, file.open("rb") as source:
            shutil.copyfileobj(source, target, _COPIED_BYTES)
            target.flush()
            os.fsync(target.fileno())
            publish(target.name, uri, create=False)

    def delete(self, uri: str) -> None:
        """Unlink."""
        with suppress(FileNotFoundError):
            os.unlink(uri)

    def filesystem(self, uri: str) -> tuple[pafs.FileSystem, str]:
        """Arrow's own local file system."""
        # Keeps roles light that read and write whole objects: Arrow brings NumPy, 0.15 s of CPU together.
        import pyarrow.fs as pafs

        return pafs.LocalFileSystem(), uri


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for a pipe's other end."""
    return os.open(path, flags | os.O_NONBLOCK)


def _file(entry: os.DirEntry[str], skip: OnSkip | None) -> ObjectInfo | None:
    """A regular file, or None for anything else."""
    try:
        info = entry.stat()
    except OSError as error:
        _left_out(error, entry.path, Skip.BROKEN_LINK if entry.is_symlink() else Skip.UNREADABLE_FILE, skip)
        return None
    if S_ISREG(info.st_mode):
        return ObjectInfo(entry.path, info.st_size, f"{info.st_size}-{info.st_mtime_ns}")
    _report(skip, Skip.FOLDER_LINK if S_ISDIR(info.st_mode) else Skip.SPECIAL_FILE, entry.path)
    return None


def _left_out(error: OSError, path: str, kind: Skip, skip: OnSkip | None) -> None:
    """Report an entry that cannot be listed; raise an error that names it if that is no reason to leave it out."""
    if kind is not Skip.BROKEN_LINK:
        kind = Skip.VANISHED if error.errno in _GONE else kind
        tolerated = error.errno in _GONE or (skip is not None and error.errno in _UNREADABLE)
        if not tolerated:
            raise translate(error, path) from error
    _report(skip, kind, path)


def _report(skip: OnSkip | None, kind: Skip, path: str) -> None:
    if skip is not None:
        skip(kind, path)


def publish(path: str, uri: str, create: bool) -> None:
    """Give a staged file its final name; with `create` only if the name is free."""
    if not create:
        os.replace(path, uri)
        return
    try:
        os.link(path, uri)
    except FileExistsError:
        if not os.path.samefile(path, uri):  # else the answer of a network file system was lost, and it linked twice
            raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        raise NotImplementedError("no hard links here") from error


LOCAL = LocalBackend()
