"""Decodes text files and file names, and recognizes texts that hold nothing or that no file can hold.

One rule decides every encoding: UTF-16 with a byte order mark, else UTF-8, else GB18030.
"""

from __future__ import annotations

import codecs
import unicodedata
from typing import TypeVar, cast

V = TypeVar("V")

_ENCODINGS = ("utf-8-sig", "gb18030")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decode_text(data: bytes) -> str:
    """A whole text; surrounding white space removed.

    Raises:
        UnicodeDecodeError: it is in none of the encodings.
    """
    if data.startswith(_UTF_16):
        return data.decode("utf-16").strip()
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
    """The encoding of a text that starts with `sample`; UTF-8 if it is in none."""
    if sample.startswith(_UTF_16):
        return "utf-16"
    return next((name for name in _ENCODINGS if _is_in(sample, name)), _ENCODINGS[0])


def _is_in(sample: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(sample)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True


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
