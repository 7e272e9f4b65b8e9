"""Decodes text files and file names."""

from __future__ import annotations

_ENCODINGS = ("utf-8-sig", "gb18030")


def decode_text(data: bytes) -> str:
    """UTF-8, with or without a byte order mark, else GB18030; surrounding white space removed.

    Raises:
        UnicodeDecodeError: it is neither.
    """
    try:
        return data.decode(_ENCODINGS[0]).strip()
    except UnicodeDecodeError:
        return data.decode(_ENCODINGS[1]).strip()


def encoding_of(sample: bytes) -> str:
    """The encoding of a text file that starts with `sample`: GB18030 if that is not UTF-8."""
    try:
        sample.decode(_ENCODINGS[0])
    except UnicodeDecodeError as error:
        if error.start < len(sample) - 4:
            return _ENCODINGS[1]
    return _ENCODINGS[0]


def decode_name(name: str) -> str:
    """A file name whose undecodable bytes are surrogates: decoded as GB18030, which Chinese Windows writes."""
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode(_ENCODINGS[1], "backslashreplace")


def decode_path(path: str) -> str:
    """The same for each segment of a path: a folder may be named in UTF-8 and the files in it in GBK."""
    return "/".join(map(decode_name, path.split("/")))
