"""Reads `{split}_texts.jsonl`, the authors' texts, as a source and as the ground truth of an evaluation.

A line is `{"text_id": 1, "text": "...", "image_ids": [7, 8]}`. Captions as COCO-CN distributes them,
`id#0<TAB>caption`, are read too: `id#0` is the text's id, and `id` the image's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import storage
from pipeline.errors import SourceError
from pipeline.sources.texts import decode_text, is_whole
from pipeline.sources.values import json_object

_ID_KEYS, _TEXT_KEYS, _IMAGES_KEYS = ("text_id", "query_id"), ("text", "query_text"), ("image_ids", "item_ids")
_CAPTION = re.compile(r"(?P<image>[^\s{#]+)#(?P<number>[^\s#]+)\t(?P<text>.*\S)")
_BUFFER_BYTES = 4 * 2**20
#: Python converts no longer number from or to text.
_MAX_DIGITS = 4300


@dataclass(frozen=True, slots=True)
class TextLine:
    """A text and the images that it describes; none if the set has no ground truth.

    Ids are as in the file: 7 and "7" are the same, "007" is another.
    """

    text_id: str
    text: str
    image_ids: tuple[str, ...]


def parse_text(line: bytes) -> TextLine:
    """A line of `*_texts.jsonl`, or of older sets' `*_queries.jsonl`, whose keys differ.

    Raises:
        ValueError: it is not such a line.
    """
    plain = decode_text(line)
    if caption := _CAPTION.fullmatch(plain):
        return TextLine(f"{caption['image']}#{caption['number']}", caption["text"], (caption["image"],))
    found = json_object(plain)
    text_id, text = _value(found, _ID_KEYS), _value(found, _TEXT_KEYS)
    images: Any = next((found[key] for key in _IMAGES_KEYS if found.get(key) is not None), [])
    if not isinstance(text, str) or not isinstance(images, list):
        raise ValueError("its text is not a string, or its image_ids are not a list")  # noqa: TRY004 - data, not a wrong call
    if not is_whole(text):
        raise ValueError(f"its text {text!a} holds half of a surrogate pair")
    return TextLine(_id(text_id), text, tuple(map(_id, images)))


def as_number(id_: str) -> int | None:
    """The number that an id spells without leading zeros, so that two ids never become one; else None."""
    plain = id_.isascii() and id_.isdigit() and (id_ == "0" or id_[0] != "0") and len(id_) <= _MAX_DIGITS
    return int(id_) if plain else None


def read_texts(uri: str) -> Iterator[TextLine]:
    """Every line of a file of texts, in order.

    Raises:
        SourceError: a line is invalid; the message has its number.
        StorageError: the file cannot be read.
    """
    for number, line in _lines(uri):
        try:
            yield parse_text(line)
        except ValueError as error:
            raise SourceError(
                f"Line {number} of {uri} is not a text of this format: {error}. Correct it; a line is "
                '{"text_id": 1, "text": "...", "image_ids": [7]} or id#0<TAB>caption.'
            ) from error


def _lines(uri: str) -> Iterator[tuple[int, bytes]]:
    """Non-blank lines, with their numbers from 1."""
    with storage.open_seekable(uri, buffer_bytes=_BUFFER_BYTES) as file:
        yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())


def _value(found: Mapping[str, Any], keys: Sequence[str]) -> Any:
    for key in keys:
        if key in found:
            return found[key]
    raise ValueError(f"it has no {keys[0]}")


def _id(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value and is_whole(value):
        return value
    raise ValueError(f"{value!a} is not an id")
