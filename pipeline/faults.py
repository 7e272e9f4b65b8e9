"""Turns exceptions that the machine caused into errors for the user: missing packages, full or read-only disks.

In: any exception. Out: a `HanclipError` that names the package or the folder and the cure. `translated` is the outer
border of jobs and of their runs, where everything else passes unchanged, since it is a bug; `reported` is that of a
command, which ends with one line whatever happened. Code that knows more about an operation, such as the storage
backends, translates closer to it.
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

from pipeline.errors import HanclipError, InternalError, RunError, UsageError
from pipeline.extras import missing_package

#: The cure by error number. Other numbers, such as a missing file, may be bugs and keep their traceback.
_CURES = {
    errno.ENOSPC: "Free some space there",
    errno.EDQUOT: "Free some space there, or raise the quota of this user",
    errno.EROFS: "It is mounted read-only: mount it writable",
    errno.EACCES: "Give this user access to it",
    errno.EPERM: "Give this user access to it",
    errno.ENOTDIR: "A part of this path is a file: name another folder",
    errno.EISDIR: "This is a folder: name a file",
    errno.ELOOP: "Its symbolic links form a loop: correct them",
    errno.ENAMETOOLONG: "Choose a shorter path",
    errno.EIO: "Check the disk (dmesg)",
    errno.EMFILE: "Raise the limit of open files (ulimit -n)",
    errno.ENFILE: "Raise the limit of open files of the machine (fs.file-max)",
}
_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
#: What another folder for temporary files may help against.
_OF_FOLDERS = frozenset({*_SPACE, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})
_ABOUT_NO_PATH = frozenset({errno.EMFILE, errno.ENFILE})
#: Python's message when it can write to no temporary folder.
_NO_TEMPORARY = "No usable temporary directory"
#: NumPy's message about a full disk, without an error number.
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
#: Python's reason for refusing text with half of a surrogate pair.
_SURROGATES = "surrogates not allowed"
#: pathlib's reason for not replacing `~`.
_NO_HOME = "Could not determine home directory"
_WITHOUT_HOME = (
    "The home folder of a user is unknown, of this one or of one named as ~NAME: set HOME to a folder that this user "
    "may write, and give paths without ~."
)
_MOST_CHARACTERS = 500
#: Libraries that fail on damaged data, by the package of their exceptions.
_READERS = {"pyarrow": "Arrow", "duckdb": "DuckDB", "_duckdb": "DuckDB"}
#: A file system with less free space is full for every purpose of ours.
_FULL_BYTES = 2**20


@contextmanager
def translated() -> Iterator[None]:
    """Raise a HanclipError in place of an exception that the machine caused."""
    try:
        yield
    except (ModuleNotFoundError, OSError, RuntimeError) as error:
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
    if isinstance(error, RuntimeError) and _NO_HOME in str(error):
        return RunError(_WITHOUT_HOME)
    if not isinstance(error, OSError):
        return None
    if error.errno == errno.ENOENT and _NO_TEMPORARY in str(error):
        return RunError(f"{error.strerror}: free some space in one of them, or set TMPDIR to a writable folder.")
    number = errno.ENOSPC if _SHORT_WRITE.fullmatch(str(error)) else error.errno
    if number not in _CURES:
        return None
    path = _path_of(error) or folder
    return RunError(f"{_what(number, path)}. {_cure(number, path)}.")


def reported(error: Exception) -> HanclipError:
    """The error for the user of any exception that ended a command. What nothing here explains is a bug."""
    if isinstance(error, HanclipError):
        return error
    if known := explained(error):
        return known
    text = _on_one_line(str(error))
    if isinstance(error, OSError) and (path := _path_of(error)):
        return RunError(f"{error.strerror}: {path}. Check this path.")
    if isinstance(error, UnicodeEncodeError) and error.reason == _SURROGATES:
        whole = _on_one_line(ascii(error.object))
        return UsageError(f"{whole} is not valid text: it holds half of a surrogate pair. Correct it, in UTF-8.")
    if isinstance(error, MemoryError):
        return RunError(f"There is not enough memory{f' ({text})' if text else ''}. Use a machine with more.")
    if library := _READERS.get(type(error).__module__.partition(".")[0]):
        return RunError(
            f"{library} failed: {text}. Check the dataset with `hanclip verify OUT`; if it is sound, report this with "
            "what --debug shows."
        )
    return InternalError(
        f"Internal error, {type(error).__name__}: {text or 'no message'}. Please report it; --debug shows where it is."
    )


def _path_of(error: OSError) -> str:
    """The file that it is about; of a renaming the second, which is the one that the user knows."""
    name = error.filename if error.filename2 is None else error.filename2
    return os.fsdecode(name) if isinstance(name, str | bytes) else ""


def _on_one_line(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _MOST_CHARACTERS else f"{words[: _MOST_CHARACTERS - 1]}…"


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
    if number not in _OF_FOLDERS or not Path(path or temporary).is_relative_to(temporary):
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
