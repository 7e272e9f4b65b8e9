"""Lines of the Chinese-CLIP authors' files, in and out, as their scripts write and read them.

    {split}_texts.jsonl            {"text_id": 1, "text": "...", "image_ids": [7, 8]}
    {split}_imgs.img_feat.jsonl    {"image_id": 7, "feature": [...]}        likewise txt_feat with text_id

In: addresses of such files, or rows to write. Out: values; files that appear whole or not at all. Features are read by
`pipeline.curation.evaluate.features`, predictions are written by `pipeline.curation.evaluate.files`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import storage
from pipeline.errors import SourceError
from pipeline.sources.texts import decode_text
from pipeline.sources.values import json_object

_ID_KEYS, _TEXT_KEYS, _IMAGES_KEYS = ("text_id", "query_id"), ("text", "query_text"), ("image_ids", "item_ids")
_BUFFER_BYTES = 4 * 2**20
#: Python reads and writes no longer number.
_MAX_DIGITS = 4300


@dataclass(frozen=True, slots=True)
class TextLine:
    """A text and the images that it describes; none are named where a set has no ground truth.

    Ids are as the file has them: 7 and "7" are one, "007" is another.
    """

    text_id: str
    text: str
    image_ids: tuple[str, ...]


def parse_text(line: bytes) -> TextLine:
    """A line of `*_texts.jsonl`, or of the older `*_queries.jsonl` with other keys.

    Raises:
        ValueError: it is no such line.
    """
    found = json_object(decode_text(line))
    text_id, text = _value(found, _ID_KEYS), _value(found, _TEXT_KEYS)
    images: Any = next((found[key] for key in _IMAGES_KEYS if found.get(key) is not None), [])
    if not isinstance(text, str) or not isinstance(images, list):
        raise ValueError("its text is no string, or its image_ids are no list")  # noqa: TRY004 - data, not a wrong call
    return TextLine(_id(text_id), text, tuple(map(_id, images)))


def as_number(id_: str) -> int | None:
    """The number that an id is the plain spelling of: two ids never become one."""
    plain = id_.isascii() and id_.isdigit() and (id_ == "0" or id_[0] != "0") and len(id_) <= _MAX_DIGITS
    return int(id_) if plain else None


def read_texts(uri: str) -> Iterator[TextLine]:
    """Every line of a file of texts, in order.

    Raises:
        SourceError: a line is no such line; it is named.
        StorageError: the file cannot be read.
    """
    for number, line in _lines(uri):
        try:
            yield parse_text(line)
        except ValueError as error:
            raise SourceError(f"Line {number} of {uri} is not a text of this format: {error}. Correct it.") from error


def _lines(uri: str) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers from 1."""
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
    if isinstance(value, str) and value:
        return value
    raise ValueError(f"{value!r} is no id")
