"""A folder on this machine for what is expensive to fetch or to compute again: model files and their digests.

`$HANCLIP_CACHE`, else `~/.cache/hanclip`. Everything in it may be deleted at any time. A cache that cannot be written
costs time, never a run.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path


def cache_folder() -> Path:
    """Where the cache is; it need not exist yet."""
    return Path(os.environ.get("HANCLIP_CACHE") or Path.home() / ".cache" / "hanclip")


def file_sha256(path: Path) -> str:
    """Hex digest of a file, remembered by its path, size and modification time."""
    about = path.stat()
    key = f"{path.resolve()}\0{about.st_size}\0{about.st_mtime_ns}"
    note = cache_folder() / "sha256" / hashlib.sha256(key.encode()).hexdigest()
    with suppress(OSError):
        return note.read_text(encoding="ascii")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with suppress(OSError):
        _write_whole(note, digest)
    return digest


def _write_whole(path: Path, text: str) -> None:
    """Under its final name only when complete, because other processes read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="ascii", dir=path.parent, delete=False) as file:
        file.write(text)
    os.replace(file.name, path)
