"""Converts a row to a WebDataset sample: the tar members that share its key.

In: a row of a dataset and its encoded image. Out: `<key>.<suffix>`, `<key>.txt`, `<key>.json`. The bytes depend on
nothing else, so the same rows give the same tars. The .json has the source's columns by their own names, and the
columns of hanclip below `hanclip`, so that hanclip can read its own tars again without name clashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.images.formats import IMAGE_SUFFIXES, format_of

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
    "similarity",
)
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


def members_of(row: Mapping[str, Any], extra: Sequence[str], image: bytes | None) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the members, in order."""
    key = key_of(row["id"])
    if image is not None:
        yield f"{key}.{_suffix(image, row.get('image_uri') or '')}", image
    if row.get("text") is not None:
        yield f"{key}.txt", row["text"].encode("utf-8", "replace")
    content = {name: row[name] for name in extra}
    content["hanclip"] = {name: row[name] for name in HANCLIP_COLUMNS if name in row and name not in extra}
    yield f"{key}.json", json.dumps(_plain(content), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _suffix(image: bytes, uri: str) -> str:
    """The suffix by the image's content; without a known signature, by the name of the embedded file."""
    known = format_of(image)
    if known and known.decoder:
        return known.suffixes[0]
    named = uri.rpartition(".")[2].lower()
    return named if named in IMAGE_SUFFIXES else "jpg"


def _plain(value: Any) -> Any:
    """Convert to JSON values: bytes to base64, times to text, NaN to null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
