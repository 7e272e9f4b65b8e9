"""Parses a value of the authors' `pairs` LMDB: a pickled tuple `(image_id, text_id, text)`.

The value is never unpickled, since that would run whatever it asks for. `pickletools` only lists opcodes with their
arguments; anything but numbers and strings in one tuple is an error. Reads every pickle protocol from 2 on.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import islice
from pickletools import genops

_VALUES = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"})
#: Protocol, framing and memoising change nothing about such a tuple.
_SKIPPED = frozenset({"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT"})
_END = ("TUPLE3", "STOP")


@dataclass(frozen=True, slots=True)
class LmdbPair:
    """A text and one image that it describes."""

    image_id: str
    text_id: str
    text: str


def parse_pair(data: bytes) -> LmdbPair:
    """The pair in a value.

    Raises:
        ValueError: the value is anything else than such a tuple.
    """
    stream = io.BytesIO(data)
    steps = ((code.name, argument) for code, argument, _ in genops(stream) if code.name not in _SKIPPED)
    names, arguments = zip(*islice(steps, 6), strict=True)
    if not _VALUES.issuperset(names[:3]) or names[3:] != _END or not isinstance(arguments[2], str):
        raise ValueError("it is not a tuple of image_id, text_id and text")
    if stream.read(1):
        raise ValueError("it has bytes after its end")
    pair = LmdbPair(str(arguments[0]), str(arguments[1]), arguments[2])
    f"{pair.image_id}{pair.text_id}{pair.text}".encode()  # pickles may hold halves of surrogate pairs, Arrow may not
    return pair
