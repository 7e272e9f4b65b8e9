"""Converts a row to a WebDataset sample: the tar members that share its key.

In: a row of a dataset, as JSON values, and its encoded image. Out: `<key>.<suffix>`, `<key>.txt`, `<key>.json`. The
bytes depend on nothing else, so the same rows give the same tars. The .json has the source's columns by their own
names, and the columns of hanclip below `hanclip`, so that hanclip can read its own tars again without name clashes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.images.formats import IMAGE_SUFFIXES, format_of
from pipeline.vocabulary import Signal

#: The columns of a dataset that go below `hanclip`, as far as the dataset has them.
HANCLIP_COLUMNS = (
    "id",
    "source_fingerprint",
    "image_uri",
    "image_sha256",
    "image_width",
    "image_height",
    "image_blank_rows",
    "image_bytes",
    *(signal.column for signal in Signal),
    "similarity",
)
_OWN = "hanclip"
_SEGMENT = r"[\w+=@,~-]+"
_SAFE = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_HIDDEN = re.compile(r"(.*/)?__[^/]*__|.*__MACOSX.*")
_OURS = re.compile(r".*-[0-9a-f]{16}")
_UNSAFE = re.compile(r"[^\w+=@,~-]+")
_KEY_BYTES = 200
_STEM_CHARS = 40


def key_of(id_: str) -> str:
    """The id itself if it is a valid key; else its last part, escaped, with a digest of the id that keeps it unique.

    A key has no dot, since the suffix begins there, and no characters that are special to file systems or shells.
    """
    fits = len(id_.encode()) <= _KEY_BYTES and _SAFE.fullmatch(id_)
    if fits and not _HIDDEN.fullmatch(id_) and not _OURS.fullmatch(id_):
        return id_
    stem, _, suffix = id_.rpartition("/")[2].rpartition(".")
    name = stem if stem and suffix.lower() in IMAGE_SUFFIXES else id_.rpartition("/")[2]
    digest = hashlib.sha256(id_.encode()).hexdigest()[:16]
    return f"{_UNSAFE.sub('_', name)[:_STEM_CHARS].strip('_') or 'row'}-{digest}"


def members_of(
    row: Mapping[str, Any], extra: Sequence[str], image: bytes | None, image_name: str | None
) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the members, in order.

    Args:
        row: the row, as JSON values.
        extra: its columns that the source has.
        image: the encoded image; None in a dataset of texts.
        image_name: the suffix of every image, whatever its encoding; an empty `.txt` then stands for no text. Without
            it images have the suffix of their encoding, and a row without a text has no `.txt`.
    """
    key = key_of(row["id"])
    if image is not None:
        yield (f"{key}.{image_name}" if image_name else image_member(row, image)), image
    if row.get("text") is not None or (image_name and "text" in row):
        yield f"{key}.txt", (row["text"] or "").encode("utf-8", "replace")
    content = {_name(name, extra): row[name] for name in extra}
    content[_OWN] = {name: row[name] for name in HANCLIP_COLUMNS if name in row}
    yield f"{key}.json", json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def image_member(row: Mapping[str, Any], image: bytes) -> str:
    """The name of the image of a row, by its content."""
    return f"{key_of(row['id'])}.{_suffix(image, row.get('image_uri') or '')}"


def _name(name: str, extra: Sequence[str]) -> str:
    """The name of a source's column; one called `hanclip`, as in tars that hanclip wrote, gets another."""
    if name != _OWN:
        return name
    while name == _OWN or name in extra:
        name = f"source_{name}"
    return name


def _suffix(image: bytes, uri: str) -> str:
    """The suffix by the image's content; without a known signature, by the name of the embedded file."""
    known = format_of(image)
    if known and known.decoder:
        return known.suffixes[0]
    named = uri.rpartition(".")[2].lower()
    return named if named in IMAGE_SUFFIXES else "jpg"
