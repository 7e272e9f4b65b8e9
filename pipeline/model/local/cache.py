"""The cache folder on this machine: copies of model files, and digests of weights.

`$HANCLIP_CACHE`, else `~/.cache/hanclip`. Everything in it may be deleted at any time. Digests that cannot be cached
are computed again.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


def cache_folder() -> Path:
    """Path of the cache, which need not exist yet."""
    return Path(os.environ.get("HANCLIP_CACHE") or Path.home() / ".cache" / "hanclip")


def file_sha256(path: Path) -> str:
    """Hex digest of a file, cached by its path, size and modification time."""

    def compute() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return cached("sha256", [path], "", compute)


def cached(kind: str, files: Sequence[Path], of: str, compute: Callable[[], str]) -> str:
    """A text, not empty, that `compute` derives from `files`, cached by their paths, sizes and modification times.

    Args:
        kind: names the derivation, and its folder in the cache.
        files: what it depends on.
        of: which part of the files it is about.
        compute: derives it; what it raises is not cached.
    """
    infos = [(path, path.stat()) for path in files]
    key = "\0".join([*(f"{path.resolve()}\0{info.st_size}\0{info.st_mtime_ns}" for path, info in infos), of])
    place = cache_folder() / kind / hashlib.sha256(key.encode()).hexdigest()
    with suppress(OSError, ValueError):  # none; damaged, as by a full disk or a loss of power
        if known := place.read_text(encoding="ascii"):
            return known
    found = compute()
    with suppress(OSError):
        write_atomically(place, found)
    return found


def write_atomically(path: Path, text: str) -> None:
    """Write and rename, because other processes may read it meanwhile; other users too, if the umask lets them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        part.write_text(text, encoding="ascii")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def appearing_whole(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which gets the name `folder` at the end. If two processes do so at once, the first wins.

    Who may read it is left to the umask, as users may share a cache.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as private:
        staged = Path(private, folder.name)
        staged.mkdir()
        yield staged
        try:
            staged.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
