"""A temporary folder on the local disk. Those of processes that were killed are removed by the next process here.

Each folder is locked while its process lives. The kernel releases the lock with the process, however it ends, so no
clock, pid or start time has to be compared.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

_PREFIX = "hanclip-scratch-"
_NAME = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}")
_swept: set[str] = set()


class ScratchFolder:
    """Use as a context manager, which gives the path, or call `remove`.

    Attributes:
        path: in TMPDIR.
    """

    def __init__(self) -> None:
        parent = tempfile.gettempdir()
        if parent not in _swept:
            _swept.add(parent)
            remove_abandoned(parent)
        self.path, lock = _make(parent)
        self._remove = weakref.finalize(self, _remove, self.path, lock)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove the folder and what is in it."""
        self._remove()


def remove_abandoned(parent: str) -> None:
    """Remove the scratch folders in `parent` of this user's processes that no longer live."""
    with os.scandir(parent) as entries:
        found = [entry.path for entry in entries if _NAME.fullmatch(entry.name)]
    for path in found:
        with suppress(OSError):  # Another process was first, or the file system has no locks.
            _remove_if_abandoned(path)


def _remove_if_abandoned(path: str) -> None:
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(lock).st_uid == os.getuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)


def _make(parent: str) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        with suppress(FileNotFoundError):  # Another process removed it before it was locked.
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # Without locks, nobody takes the folder for abandoned either.
                fcntl.flock(lock, fcntl.LOCK_SH)
            if path.exists():
                return path, lock
            os.close(lock)


def _remove(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)
