"""Lines of the Chinese-CLIP authors' files, in and out, as their scripts write and read them.

    {split}_texts.jsonl            {"text_id": 1, "text": "...", "image_ids": [7, 8]}
    {split}_imgs.img_feat.jsonl    {"image_id": 7, "feature": [...]}        likewise txt_feat with text_id
    {split}_predictions.jsonl      {"text_id": 1, "image_ids": [best, ...]}  likewise tr_predictions
    output.json                    {"success": true, "score": ..., "scoreJson": {...}}

In: addresses of such files, or rows to write. Out: values, a block at a time; files that appear whole or not at all.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline import storage
from pipeline.errors import SourceError
from pipeline.sources.texts import decode_text
from pipeline.sources.values import json_object

Vectors = npt.NDArray[np.float32]

_ID_KEYS, _TEXT_KEYS, _IMAGES_KEYS = ("text_id", "query_id"), ("text", "query_text"), ("image_ids", "item_ids")
_FEATURE_IDS = ("image_id", "text_id")
_BLOCK_ROWS = 8192
_BUFFER_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class TextLine:
    """A text and the images that it describes; none are named where a set has no ground truth."""

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


def read_features(uri: str, rows: int = _BLOCK_ROWS) -> Iterator[tuple[list[str], Vectors]]:
    """Vectors of `*.img_feat.jsonl` or `*.txt_feat.jsonl`: (ids, (B, D) float32), at most `rows` at a time.

    Raises:
        SourceError: a line is no such line, or its vector has another length than the one before; it is named.
        StorageError: the file cannot be read.
    """
    lines, dim = _lines(uri), 0
    while some := list(islice(lines, rows)):
        parsed = [_feature(number, line, uri) for number, line in some]
        dim = dim or len(parsed[0][1])
        for (number, _), (_, vector) in zip(some, parsed, strict=True):
            if len(vector) != dim:
                raise SourceError(
                    f"Line {number} of {uri} has a feature of {len(vector)} numbers, those before have {dim}. "
                    "Write the file again with one model."
                )
        yield [id_ for id_, _ in parsed], np.array([vector for _, vector in parsed], np.float32)


def write_features(
    uri: str, key: Literal["image_id", "text_id"], blocks: Iterable[tuple[Sequence[int], Vectors]]
) -> int:
    """Write `{key: id, "feature": [...]}` lines with numbers that read back as the same float32; returns the rows."""
    rows = (
        {key: id_, "feature": vector}
        for ids, vectors in blocks
        for id_, vector in zip(ids, vectors.tolist(), strict=True)
    )
    return write_lines(uri, rows)


def write_predictions(uri: str, rows: Iterable[tuple[int, Sequence[int]]], of: Literal["text", "image"]) -> int:
    """Write the ids found for each text (`of="text"`: images, best first) or for each image; returns the rows."""
    asked, found = (("text_id", "image_ids"), ("image_id", "text_ids"))[of == "image"]
    return write_lines(uri, ({asked: id_, found: list(ids)} for id_, ids in rows))


def write_output_json(uri: str, scores: Mapping[str, float] | None, error: str = "") -> None:
    """Write the result of an evaluation: `mean_recall`, `r1`, `r5`, `r10`, in percent; or why there is none."""
    result: dict[str, Any] = {"success": False, "score": 0.0, "errorMsg": error}
    if scores is not None:
        mean = scores["mean_recall"]
        result = {"success": True, "score": mean, "scoreJson": {"score": mean, **scores}}
    storage.overwrite(uri, json.dumps(result).encode())


def write_lines(uri: str, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write JSON lines of any number, staged on this machine's disk; returns how many."""
    count = 0
    with tempfile.TemporaryDirectory(prefix="hanclip-") as folder:
        staged = Path(folder) / "lines.jsonl"
        with staged.open("w", encoding="utf-8", newline="\n") as file:
            for row in rows:
                file.write(f"{json.dumps(row, ensure_ascii=False)}\n")
                count += 1
        storage.upload(uri, staged)
    return count


def _lines(uri: str) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers from 1."""
    with storage.open_seekable(uri, buffer_bytes=_BUFFER_BYTES) as file:
        yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())


def _feature(number: int, line: bytes, uri: str) -> tuple[str, list[float]]:
    try:
        found = json_object(line)
        feature = found["feature"]
        if not isinstance(feature, list) or not all(type(value) in (float, int) for value in feature):
            raise ValueError("its feature is no list of numbers")  # noqa: TRY301
        return _id(_value(found, _FEATURE_IDS)), feature
    except (ValueError, KeyError) as error:
        raise SourceError(f"Line {number} of {uri} is no image_id or text_id with a feature: {error}.") from error


def _value(found: Mapping[str, Any], keys: Sequence[str]) -> Any:
    for key in keys:
        if key in found:
            return found[key]
    raise ValueError(f"it has no {keys[0]}")


def _id(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value:
        return str(int(value)) if value.isascii() and value.isdigit() else value
    raise ValueError(f"{value!r} is no id")
