"""Pictures of rows, small enough to be carried inside a page.

In: rows of a dataset. Out: for each a data URI, or why there is none: an image that is gone, or another one than the
one that was embedded, leaves a gap with a label. A page has its pictures read in one go, for that costs one pass.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from pipeline.curation.originals.read import Original, originals
from pipeline.curation.vectors import KEY
from pipeline.errors import ImageError, StorageError
from pipeline.images.decode import thumbnail

SIDE = 96
#: Keeps a page within five megabytes: base64 makes four bytes of three.
MOST_BYTES = 3_000_000
_MOST_EACH = 16_000
#: A page does without a picture sooner than a run without a record.
_PATIENCE = {"read_timeout_s": 10.0, "retry_timeout_s": 3.0}

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Shown:
    """A row that a page shows.

    Attributes:
        id, source_fingerprint: which row.
        text: its caption.
        note: a few words or figures below it.
        marked: it stands out among its neighbours.
    """

    id: str
    source_fingerprint: str
    text: str | None = None
    note: str = ""
    marked: bool = False

    @property
    def key(self) -> Key:
        """What the row's picture is found by."""
        return self.id, self.source_fingerprint


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a data URI; an empty one has a `gap`: why it cannot be shown."""

    uri: str = ""
    gap: str = ""


def pictures(out: str, shown: Iterable[Shown]) -> dict[Key, Picture]:
    """Pictures of these rows of the dataset at `out`, by key."""
    keys = list(dict.fromkeys(row.key for row in shown))
    columns = zip(*keys, strict=True) if keys else ([], [])
    rows = pa.table({name: pa.array(values, pa.string()) for name, values in zip(KEY, columns, strict=True)})
    found: dict[Key, Picture] = {}
    held = 0
    try:
        for key, original in zip(keys, originals(out, rows, _PATIENCE) if keys else (), strict=True):
            picture = _picture(original, MOST_BYTES - held)
            held += len(picture.uri)
            found[key] = picture
    except StorageError as error:
        return {key: found.get(key, Picture(gap=f"source not readable: {type(error).__name__}")) for key in keys}
    return found


def _picture(original: Original, room: int) -> Picture:
    if original.failure is not None:
        return Picture(gap=original.failure.reason.replace("_", " "))
    if original.image is None:
        return Picture(gap="no image")
    try:
        small = thumbnail(original.image, SIDE)
    except ImageError as error:
        return Picture(gap=error.reason.replace("_", " "))
    if len(small) > min(room, _MOST_EACH):
        return Picture(gap="left out: page full")
    return Picture(f"data:image/webp;base64,{base64.b64encode(small).decode()}")
