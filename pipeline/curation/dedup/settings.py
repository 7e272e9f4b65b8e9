"""The settings of `hanclip dedup`. Parsed here once and trusted inside."""

from __future__ import annotations

import hashlib
import json

from pydantic import Field

from pipeline.validation import Options
from pipeline.vocabulary import Keep, Rung

#: Rungs that compare texts; the others compare images.
TEXT_RUNGS = (Rung.TEXT, Rung.NEAR_TEXT)


class DedupSettings(Options):
    """What counts as a duplicate, and which row of a group stays."""

    rungs: tuple[Rung, ...] = Field(
        default=(),
        description="What makes two rows duplicates, several if given several times: bytes, pixels, phash, image, "
        "text, near-text. If not given: bytes, pixels and image; in a dataset without images text and near-text.",
    )
    phash_radius: int = Field(
        default=3, ge=0, le=10, description="Rung phash: perceptual hashes that differ in at most this many of 64 bits."
    )
    image_cosine: float = Field(
        default=0.985, ge=0.5, lt=1, description="Rung image: image vectors with at least this cosine."
    )
    text_cosine: float = Field(
        default=0.985, ge=0.5, lt=1, description="Rung near-text: text vectors with at least this cosine."
    )
    border: float = Field(
        default=0.35,
        ge=0,
        le=0.5,
        description="Compare a vector across the border of its cell if it is this near, as a part of the distance that "
        "duplicates may have. At 0.5 no pair can be missed; less is faster, and misses one in some thousands.",
    )
    keep: Keep | None = Field(
        default=None,
        description="Which row of a group stays: that of the highest similarity, of the largest image, or of the first "
        "id. If not given: similarity if the dataset has it, else largest, else first.",
    )
    keep_sql: str | None = Field(
        default=None,
        min_length=1,
        description="The same as an ORDER BY of DuckDB over the dataset's columns; its first row stays.",
    )


def digest(**values: object) -> str:
    """A name for these values that is the same in every process."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
