"""The cache folder on this machine: copies of model files, and digests of weights.

`$HANCLIP_CACHE`, else `~/.cache/hanclip`. Everything in it may be deleted at any time. Digests that cannot be cached
are computed again.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path


def cache_folder() -> Path:
    """Path of the cache, which need not exist yet."""
    return Path(os.environ.get("HANCLIP_CACHE") or Path.home() / ".cache" / "hanclip")


def file_sha256(path: Path) -> str:
    """Hex digest of a file, cached by its path, size and modification time."""
    info = path.stat()
    key = f"{path.resolve()}\0{info.st_size}\0{info.st_mtime_ns}"
    cached = cache_folder() / "sha256" / hashlib.sha256(key.encode()).hexdigest()
    with suppress(OSError):
        return cached.read_text(encoding="ascii")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with suppress(OSError):
        _write_atomically(cached, digest)
    return digest


def _write_atomically(path: Path, text: str) -> None:
    """Write and rename, because other processes may read it meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="ascii", dir=path.parent, delete=False) as file:
        file.write(text)
    os.replace(file.name, path)
