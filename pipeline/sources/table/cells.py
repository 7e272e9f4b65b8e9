"""What the cells of role columns mean, in every format: a text, several captions, or an image.

In: a cell as a Python value. Out: text, or the bytes or address of an image; ValueError if it cannot be that. Strings
stay as they are. A number, a Boolean or a point in time becomes text as it is usually written: integers in decimal,
fractions with the shortest digits that give the same number, `true`, `2026-01-31 12:00:00`. NaN is null. Lists,
structs and bytes are no text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.sources.references.inline import decode_base64
from pipeline.vocabulary import Captions

#: Data-Juicer marks where images stand in a text, and where the text of a group of them ends.
_GROUP_END = "<|__dj__eoc|>"
_MARK = re.compile(r"<__dj__\w+>")


class ImageCell(NamedTuple):
    """The image of a cell: its bytes, else its address, else neither; and how many further images the cell has."""

    data: bytes | None = None
    address: str | None = None
    others: int = 0


def text_of(value: Any) -> str | None:
    """A cell as text. Raises ValueError for a list, a struct or bytes."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (bytes, list, dict)):
        raise ValueError(f"{_SHOWN[type(value)]} is not a text")  # noqa: TRY004 - bad data, not a wrong call
    return None if value != value else str(value)


def captions_of(value: Any) -> list[str | None]:
    """The captions of a cell, at least one: null if there is none. A list has several, without the blank ones.

    The marks of Data-Juicer are removed, and what it groups separately is a caption each.

    Raises:
        ValueError: it holds a struct, a list within a list, or bytes.
    """
    if isinstance(value, list):
        texts = [text for one in value for text in _groups(text_of(one)) if text is not None and text.strip()]
        return [*texts] or [None]
    return _groups(text_of(value))


def caption_of(captions: list[str | None], how: Captions) -> str | None:
    """The text of a row's only record: its first caption, or all of them joined with blanks."""
    return captions[0] if how != "joined" or len(captions) == 1 else " ".join(filter(None, captions))


def image_of(value: Any) -> ImageCell:
    """The first image of a cell. Raises ValueError for what is neither an address nor an image's bytes."""
    if isinstance(value, list):
        found = [one for one in value if one]
        return image_of(found[0])._replace(others=len(found) - 1) if found else ImageCell()
    if value is None or isinstance(value, bytes):
        return ImageCell(value)
    if isinstance(value, str):
        return ImageCell(address=value)
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path")
        if data is not None:
            return ImageCell(data if isinstance(data, bytes) else _from_base64(data))
        return ImageCell(address=path) if path is None or isinstance(path, str) else image_of(path)
    raise ValueError(f"{str(value)[:60]} is neither an address nor an image")


_SHOWN = {bytes: "bytes", list: "a list", dict: "a struct"}


def _groups(text: str | None) -> list[str | None]:
    if text is None or "__dj__" not in text:
        return [text]
    groups = (_MARK.sub("", part).strip() for part in text.split(_GROUP_END))
    return [part for part in groups if part] or [None]


def _from_base64(data: Any) -> bytes:
    if not isinstance(data, str) or not data.isascii():
        raise ValueError("the bytes of the image are not base64")
    return decode_base64(data.encode())
