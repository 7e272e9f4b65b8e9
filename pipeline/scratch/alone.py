"""Lets one process at a time do something on this machine, such as read a file and replace it.

In: a folder, or a file that stands for what is done. The kernel releases the lock with the process, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def alone(path: Path, *, file: bool = False) -> Iterator[None]:
    """Wait until no other process holds the lock on `path`, and hold it.

    Without a lock where the file system has none, or where `path` cannot be opened.

    Args:
        path: a folder, which gets no new file.
        file: it is a file, which is created, and can be locked on NFS too.
    """
    try:
        held = os.open(path, os.O_WRONLY | os.O_CREAT if file else os.O_RDONLY | os.O_DIRECTORY, 0o666)
    except OSError:
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)
