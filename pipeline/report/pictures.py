"""Thumbnails of rows, small enough to be embedded in a page.

In: rows of a dataset. Out: for each a data URI, or the reason why there is none: an image that is gone or has changed
since it was embedded leaves a labelled gap. A page reads all its pictures at once, which takes one pass.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from pipeline.curation.originals.read import Original, originals
from pipeline.curation.vectors import KEY
from pipeline.errors import ImageError, StorageError
from pipeline.images.thumbnail import thumbnail
from pipeline.report.wording import Phrase, known, say

SIDE = 96
#: Keeps a page within five megabytes; base64 adds a third.
MOST_BYTES = 3_000_000
_MOST_EACH = 16_000
#: Shorter timeouts than in a run: a page can do without a picture.
_PATIENCE = {"read_timeout_s": 10.0, "retry_timeout_s": 3.0}

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row that a page shows.

    Attributes:
        id, source_fingerprint: which row.
        text: its caption.
        note: a short text below it.
        marked: whether it is outlined.
    """

    id: str
    source_fingerprint: str
    text: str | None = None
    note: Phrase | str = ""
    marked: bool = False

    @property
    def key(self) -> Key:
        """The key of the row's picture."""
        return self.id, self.source_fingerprint


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a data URI; if it is empty, `gap` is the reason."""

    uri: str = ""
    gap: Phrase | str = ""


def pictures(out: str, shown: Iterable[ShownRow]) -> dict[Key, Picture]:
    """Pictures of these rows of the dataset at `out`, by key."""
    keys = list(dict.fromkeys(row.key for row in shown))
    columns = zip(*keys, strict=True) if keys else ([], [])
    rows = pa.table({name: pa.array(values, pa.string()) for name, values in zip(KEY, columns, strict=True)})
    found: dict[Key, Picture] = {}
    used_bytes = 0
    try:
        for key, original in zip(keys, originals(out, rows, _PATIENCE) if keys else (), strict=True):
            picture = _picture(original, MOST_BYTES - used_bytes)
            used_bytes += len(picture.uri)
            found[key] = picture
    except StorageError as error:
        gap = Picture(gap=say("reason.source_not_readable", error=type(error).__name__))
        return {key: found.get(key, gap) for key in keys}
    return found


def _picture(original: Original, room: int) -> Picture:
    if original.failure is not None:
        return Picture(gap=reason(original.failure.reason))
    if original.image is None:
        return Picture(gap=say("reason.no_image"))
    try:
        small = thumbnail(original.image, SIDE)
    except ImageError as error:
        return Picture(gap=reason(error.reason))
    if len(small) > min(room, _MOST_EACH):
        return Picture(gap=say("reason.page_full"))
    return Picture(f"data:image/webp;base64,{base64.b64encode(small).decode()}")


def reason(name: str) -> Phrase | str:
    """Why an image is not there, in words."""
    return known(f"reason.{name}", name.replace("_", " "))
