"""Decodes text files and file names, and recognizes texts that hold nothing or that no file can hold."""

from __future__ import annotations

import unicodedata
from typing import TypeVar, cast

V = TypeVar("V")

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


def is_blank(text: str) -> bool:
    """Whether no character can be seen: there is none, or only white space, marks, and characters of width zero."""
    return not any(_is_visible(character) for character in text)


def _is_visible(character: str) -> bool:
    return character.isprintable() and character != " " and unicodedata.category(character) != "Mn"


def is_whole(text: str) -> bool:
    """Whether it is valid Unicode. JSON can hold half of a surrogate pair, such as of an emoji that was cut in two."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def without_surrogates(value: V) -> V:
    """The value itself; in a string that is not valid Unicode, "?" in place of each half of a surrogate pair."""
    if not isinstance(value, str) or is_whole(value):
        return value
    return cast(V, value.encode("utf-8", "replace").decode())


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
