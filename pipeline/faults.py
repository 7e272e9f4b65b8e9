"""Turns exceptions that the machine caused into errors for the user: missing packages, full or read-only disks.

In: any exception. Out: a `HanclipError` that names the package or the folder and the cure; everything else passes
unchanged, since it is a bug. This is the outer border of commands, jobs, and runs of a job; code that knows more about
an operation, such as the storage backends, translates closer to it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import HanclipError, RunError
from pipeline.extras import missing_package

#: The cure by error number. Other numbers, such as a missing file, may be bugs and keep their traceback.
_CURES = {
    errno.ENOSPC: "Free some space there",
    errno.EDQUOT: "Free some space there, or raise the quota of this user",
    errno.EROFS: "It is mounted read-only: mount it writable",
    errno.EACCES: "Give this user access to it",
    errno.EPERM: "Give this user access to it",
    errno.ENOTDIR: "A part of this path is a file: name another folder",
    errno.ENAMETOOLONG: "Choose a shorter path",
    errno.EIO: "Check the disk (dmesg)",
    errno.EMFILE: "Raise the limit of open files (ulimit -n)",
    errno.ENFILE: "Raise the limit of open files of the machine (fs.file-max)",
}
_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_ABOUT_NO_PATH = frozenset({errno.EMFILE, errno.ENFILE})
#: Python's message when it can write to no temporary folder.
_NO_TEMPORARY = "No usable temporary directory"
#: NumPy's message about a full disk, without an error number.
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
#: A file system with less free space is full for every purpose of ours.
_FULL_BYTES = 2**20


@contextmanager
def translated() -> Iterator[None]:
    """Raise a HanclipError in place of an exception that the machine caused."""
    try:
        yield
    except (ModuleNotFoundError, OSError) as error:
        if known := explained(error):
            raise known from error
        raise


def explained(error: BaseException, folder: str = "") -> HanclipError | None:
    """The error for the user of an exception that the machine caused; None for any other.

    Args:
        error: any exception.
        folder: where the operation wrote, if the exception does not name a file.
    """
    if isinstance(error, ModuleNotFoundError):
        return missing_package(error.name or "")
    if not isinstance(error, OSError):
        return None
    if error.errno == errno.ENOENT and _NO_TEMPORARY in str(error):
        return RunError(f"{error.strerror}: free some space in one of them, or set TMPDIR to a writable folder.")
    number = errno.ENOSPC if _SHORT_WRITE.fullmatch(str(error)) else error.errno
    if number not in _CURES:
        return None
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else folder
    return RunError(f"{_what(number, path)}. {_cure(number, path)}.")


def _what(number: int, path: str) -> str:
    places = [path] if path else []
    if not places and number in _SPACE:
        # What was written may be deleted by now, so that no place is full any more.
        places = [place for place in _writable_places() if _is_full(place)] or _writable_places()
    if not places or number in _ABOUT_NO_PATH:
        return os.strerror(number)
    return f"{os.strerror(number)}: {' or '.join(places)}"


def _cure(number: int, path: str) -> str:
    temporary = _temporary()
    if number in _ABOUT_NO_PATH or not Path(path or temporary).is_relative_to(temporary):
        return _CURES[number]
    return f"{_CURES[number]}, or set TMPDIR to another folder for temporary files"


def _writable_places() -> list[str]:
    """Where hanclip and its libraries write on the local disk besides OUT."""
    cache = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")
    return list(dict.fromkeys([_temporary(), os.getcwd(), cache, "/dev/shm"]))


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return os.environ.get("TMPDIR") or "/tmp"


def _is_full(place: str) -> bool:
    try:
        return shutil.disk_usage(place).free < _FULL_BYTES
    except OSError:
        return False
