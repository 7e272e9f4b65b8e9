"""Hidden files in which local writers stage what they write, and the removal of those that killed writers left.

A writer locks its file, and the kernel releases the lock with the process. That is certain among processes of one
machine, which the file's name identifies. Another machine's lock may be invisible, so its file has to be old as well,
by the clock of the store.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

logger = logging.getLogger(__name__)

_NAME = re.compile(r"\..+\.([0-9a-f]{8})[0-9a-f]{24}")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: No writer is silent for so long: a file is written in one go.
_SILENT_S = 86400.0


@contextmanager
def staged(uri: str) -> Iterator[BinaryIO]:
    """A new hidden file in the folder of `uri`, which must be created first; removed unless it was renamed."""
    file = _create(*os.path.split(uri))
    try:
        yield file
    finally:
        with suppress(FileNotFoundError):
            os.unlink(file.name)
        file.close()


def _create(folder: str, name: str) -> BinaryIO:
    while True:
        file = open(os.path.join(folder, f".{name}.{_machine()}{uuid.uuid4().hex[8:]}"), "xb")  # noqa: SIM115
        with suppress(OSError):  # The file system has no locks: then its age alone decides.
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # It was taken for abandoned before it was locked.


@cache
def _machine() -> str:
    """8 hex digits that identify the running kernel, else this process."""
    try:
        identity = _BOOT_ID.read_bytes()
    except OSError:
        identity = uuid.uuid4().bytes
    return hashlib.sha256(identity).hexdigest()[:8]


def remove_abandoned(folder: str) -> None:
    """Remove staged files of killed writers in `folder` and the folders below it. Failures are logged."""
    for path, machine in list(_staged_below(folder)):
        try:
            _remove_if_abandoned(path, machine)
        except OSError as error:
            logger.info("A hidden file of a killed writer stays: %s", error)


def _staged_below(folder: str) -> Iterator[tuple[str, str]]:
    """Staged files, each with its machine."""
    folders = [folder]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if found := _NAME.fullmatch(entry.name):
                    yield entry.path, found[1]
                elif not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)


def _remove_if_abandoned(path: str, machine: str) -> None:
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        has_locks = _lock(file)
        if has_locks is None:
            return
        if (has_locks and machine == _machine()) or _age_s(path, file) > _SILENT_S:
            os.unlink(path)
    except FileNotFoundError:
        return  # its writer has just renamed it
    finally:
        os.close(file)


def _lock(file: int) -> bool | None:
    """Lock a file; None if its writer lives, False if the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:
        return False
    return True


def _age_s(path: str, file: int) -> float:
    """Seconds since the last write, by the clock of the file system, which may be another machine's."""
    with staged(os.path.join(os.path.dirname(path), "clock")) as now:
        now.write(b"0")
        now.flush()
        return os.fstat(now.fileno()).st_mtime - os.fstat(file).st_mtime
