"""Bytes of a text file to text."""

from __future__ import annotations

_ENCODINGS = ("utf-8-sig", "gb18030")


def decode_text(data: bytes) -> str:
    """UTF-8, with or without a byte order mark, else GB18030; surrounding white space removed.

    Raises:
        UnicodeDecodeError: neither.
    """
    try:
        return data.decode(_ENCODINGS[0]).strip()
    except UnicodeDecodeError:
        return data.decode(_ENCODINGS[1]).strip()


def encoding_of(sample: bytes) -> str:
    """The encoding of a text file that begins with `sample`: UTF-8 unless that cannot be."""
    try:
        sample.decode(_ENCODINGS[0])
    except UnicodeDecodeError as error:
        if error.start < len(sample) - 4:
            return _ENCODINGS[1]
    return _ENCODINGS[0]
