"""Local files, with plain system calls."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

import pyarrow.fs as pafs

from pipeline.errors import TooLargeError
from pipeline.storage.backends.contract import ObjectInfo
from pipeline.storage.backends.staged import staged
from pipeline.storage.client_errors import too_large
from pipeline.storage.policy import ReadPolicy

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

    def walk(self, uri: str) -> Iterator[ObjectInfo]:
        """Regular files under `uri`. Links to files are followed; hidden files and links to folders are left out."""
        folders = [uri]
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.is_file():
                        info = entry.stat()
                        yield ObjectInfo(entry.path, info.st_size, f"{info.st_size}-{info.st_mtime_ns}")

    def get(self, uri: str, policy: ReadPolicy) -> bytes:
        """The file, after a check of its size."""
        with open(uri, "rb", buffering=0) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if policy.max_bytes is not None and size_bytes > policy.max_bytes:
                raise TooLargeError(too_large(uri, size_bytes, policy.max_bytes), uri)
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
        return pafs.LocalFileSystem(), uri


def publish(path: str, uri: str, create: bool) -> None:
    """Give a staged file its final name; with `create` only if the name is free."""
    if not create:
        os.replace(path, uri)
        return
    try:
        os.link(path, uri)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        raise NotImplementedError("no hard links here") from error


LOCAL = LocalBackend()
