"""Keeps what C++ libraries write to file descriptor 2 off the user's terminal while Ray is used.

Ray's C++ code logs warnings there that mean nothing to a user, such as each failed attempt to connect. Python's own
messages must not get lost with them, so the command line first gives `sys.stderr` a descriptor of its own.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2


def separate_python() -> None:
    """Let Python write to a duplicate of descriptor 2; for a process whose stderr belongs to a user."""
    stream = sys.stderr
    if not isinstance(stream, io.TextIOWrapper) or stream is not sys.__stderr__ or _descriptor() != _STDERR:
        return  # It was replaced already, or there is none.
    copy = os.dup(_STDERR)
    sys.stderr = os.fdopen(copy, "w", buffering=1, encoding=stream.encoding, errors=stream.errors, closefd=False)


@contextmanager
def silenced() -> Iterator[None]:
    """Drop what is written to descriptor 2 inside the block, unless Python's messages go there, too."""
    if not is_separate():
        yield
        return
    kept = os.dup(_STDERR)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDERR)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)


def is_separate() -> bool:
    """Whether Python's messages have a descriptor of their own, as in commands; a job's go to the same log as Ray's."""
    return _descriptor() not in (_STDERR, None)


def _descriptor() -> int | None:
    """Descriptor that Python's stderr writes to; None if it is not a file."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return None
