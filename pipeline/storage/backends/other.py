"""Every other fsspec scheme (hdfs, sftp, memory, hf, ...): slower, but complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.fs as pafs

from pipeline.errors import BadUriError, TooLargeError
from pipeline.storage.backends.contract import ObjectInfo, OnSkip
from pipeline.storage.client_errors import too_large
from pipeline.storage.policy import ReadPolicy
from pipeline.storage.uris import join
from pipeline.vocabulary import Skip


def _locate(uri: str) -> tuple[Any, str]:
    try:
        fs, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise BadUriError(f"{uri} cannot be opened: {error}. Check the scheme, or install its package.", uri) from error
    return fs, path


def _info(uri: str, entry: dict[str, Any]) -> ObjectInfo:
    size_bytes = int(entry.get("size") or 0)
    stamps = (entry.get(name) for name in ("ETag", "etag", "LastModified", "last_modified", "mtime", "created"))
    mark = next((str(stamp).strip('"') for stamp in stamps if stamp is not None), "")
    return ObjectInfo(uri, size_bytes, f"{size_bytes}-{mark}")


class OtherBackend:
    """fsspec's blocking calls."""

    def stat(self, uri: str, policy: ReadPolicy) -> ObjectInfo:
        """`info` of a file."""
        fs, path = _locate(uri)
        entry = fs.info(path)
        if entry["type"] != "file":
            raise FileNotFoundError(uri)
        return _info(uri, entry)

    def walk(self, uri: str, skip: OnSkip | None) -> Iterator[ObjectInfo]:
        """`walk`, folder by folder, each sorted."""
        fs, path = _locate(uri)

        def unreadable(error: OSError) -> None:
            if skip is not None and not isinstance(error, FileNotFoundError):
                skip(Skip.UNREADABLE_FOLDER, str(error.filename or uri))

        for _folder, _folders, files in fs.walk(path, detail=True, on_error=unreadable):
            for _name, entry in sorted(files.items()):
                below = str(entry["name"]).strip("/").removeprefix(path.strip("/"))
                yield _info(join(uri, below), entry)

    def get(self, uri: str, policy: ReadPolicy) -> bytes:
        """The file, after a check of its size."""
        fs, path = _locate(uri)
        if policy.max_bytes is not None and (size_bytes := int(fs.size(path) or 0)) > policy.max_bytes:
            raise TooLargeError(too_large(uri, size_bytes, policy.max_bytes), uri)
        return bytes(fs.cat_file(path))

    def get_range(self, uri: str, start: int, length: int, policy: ReadPolicy) -> bytes:
        """A slice of the file."""
        fs, path = _locate(uri)
        return bytes(fs.cat_file(path, start=start, end=start + length))

    def put(self, uri: str, data: bytes, create: bool, policy: ReadPolicy) -> None:
        """Overwrite; fsspec has no create-only write that every scheme honours."""
        if create:
            raise NotImplementedError("no create-only writes here")
        fs, path = _locate(uri)
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        fs.pipe_file(path, data)

    def upload(self, uri: str, file: Path) -> None:
        """`put_file`; whether it is atomic depends on the scheme."""
        fs, path = _locate(uri)
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        fs.put_file(str(file), path)

    def delete(self, uri: str) -> None:
        """Delete a file."""
        fs, path = _locate(uri)
        with suppress(FileNotFoundError):
            fs.rm_file(path)

    def filesystem(self, uri: str) -> tuple[pafs.FileSystem, str]:
        """The fsspec file system, wrapped for Arrow."""
        fs, path = _locate(uri)
        return pafs.PyFileSystem(pafs.FSSpecHandler(fs)), path


OTHER = OtherBackend()
