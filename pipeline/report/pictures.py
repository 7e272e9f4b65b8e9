"""Thumbnails of rows, small enough to be embedded in a page.

In: rows of a dataset. Out: for each a data URI, or the reason why there is none: an image that is gone or has changed
since it was embedded leaves a labelled gap. A page reads all its pictures at once, which takes one pass, and they share
its size: the fewer they are, the larger each is stored.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from pipeline.curation.originals.read import FOR_PAGES, Original, originals
from pipeline.curation.vectors import KEY
from pipeline.errors import ImageError, StorageError
from pipeline.images.thumbnail import thumbnail
from pipeline.report.wording import Phrase, known, say

#: Sides in pixels: as shown, and at most as stored, for a closer look.
SIDE, LARGEST_SIDE = 96, 320
#: Keeps a page within five megabytes.
MOST_BYTES = 3_000_000
_MOST_EACH = 32_000
_BASE64 = 4 / 3
#: Of a photograph; a picture with more may take this many times its part of the page, and is stored smaller then.
_BYTES_PER_PIXEL, _ABOVE = 0.13, 1.5

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row that a page shows.

    Attributes:
        id, source_fingerprint: which row.
        text: its caption.
        note: a short text below it.
        marked: whether it is outlined.
        alike: how many other rows of its group of duplicates it stands for.
    """

    id: str
    source_fingerprint: str
    text: str | None = None
    note: Phrase | str = ""
    marked: bool = False
    alike: int = 0

    @property
    def key(self) -> Key:
        """The key of the row's picture."""
        return self.id, self.source_fingerprint


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a data URI; if it is empty, `gap` is the reason. `address`: of the original on the web, if it is."""

    uri: str = ""
    gap: Phrase | str = ""
    address: str = ""


def pictures(out: str, shown: Iterable[ShownRow], on_page: int | None = None) -> dict[Key, Picture]:
    """Pictures of these rows of the dataset at `out`, by key.

    Args:
        out: the dataset.
        shown: the rows.
        on_page: how many of them are on one page at most, if they are on several.
    """
    keys = list(dict.fromkeys(row.key for row in shown))
    columns = zip(*keys, strict=True) if keys else ([], [])
    rows = pa.table({name: pa.array(values, pa.string()) for name, values in zip(KEY, columns, strict=True)})
    found: dict[Key, Picture] = {}
    each = MOST_BYTES // max(1, on_page or len(keys))
    try:
        for key, original in zip(keys, originals(out, rows, FOR_PAGES) if keys else (), strict=True):
            found[key] = replace(_picture(original, each), address=_web_address(original.image_uri or ""))
    except StorageError as error:
        gap = Picture(gap=say("reason.source_not_readable", error=type(error).__name__))
        return {key: found.get(key, gap) for key in keys}
    return found


def gaps_of(album: Mapping[Key, Picture]) -> Counter[Phrase | str]:
    """How many of the pictures are gaps, by reason."""
    return Counter(picture.gap for picture in album.values() if picture.gap)


def _picture(original: Original, each: int) -> Picture:
    """The picture, in about `each` bytes of the page."""
    if original.failure is not None:
        return Picture(gap=reason(original.failure.reason))
    if original.image is None:
        return Picture(gap=say("reason.no_image"))
    try:
        small = thumbnail(original.image, _side(each))
        if len(small) * _BASE64 > each * _ABOVE:
            small = thumbnail(original.image, SIDE)
    except ImageError as error:
        return Picture(gap=reason(error.reason))
    if len(small) > _MOST_EACH:
        return Picture(gap=say("reason.page_full"))
    return embedded(small)


def embedded(webp: bytes) -> Picture:
    """The picture in the bytes of a WebP file."""
    return Picture(f"data:image/webp;base64,{base64.b64encode(webp).decode()}")


def _web_address(uri: str) -> str:
    """The address, if a browser may follow it: anything else could be a script."""
    return uri if uri.lower().startswith(("http://", "https://")) else ""


def _side(each: int) -> int:
    """The side of a picture that usually fits into so many bytes of a page."""
    return int(min(LARGEST_SIDE, max(SIDE, math.sqrt(each / _BASE64 / _BYTES_PER_PIXEL))))


def reason(name: str) -> Phrase | str:
    """Why an image is not there, in words."""
    return known(f"reason.{name}", name.replace("_", " "))


def rows_in(section: object) -> list[ShownRow]:
    """All rows in a section, at any depth."""
    if isinstance(section, ShownRow):
        return [section]
    if isinstance(section, dict):
        return [row for part in section.values() for row in rows_in(part)]
    if isinstance(section, list):
        return [row for part in section for row in rows_in(part)]
    names = getattr(section, "__dataclass_fields__", ())
    return [row for name in names for row in rows_in(getattr(section, name))]
