"""The settings of `hanclip dedup`. Parsed here once and trusted inside."""

from __future__ import annotations

import hashlib
import json

from pydantic import Field, field_validator
from pydantic.config import JsonDict

from pipeline.credentials import refuse_credentials
from pipeline.validation import Options
from pipeline.vocabulary import Keep, Rung

#: Rungs that compare texts; the others compare images.
TEXT_RUNGS = (Rung.TEXT, Rung.NEAR_TEXT)
_ANY_RUNG = rf"\s*({'|'.join(Rung)})\s*"
#: For forms and servers that check a schema alone.
_RUNGS: JsonDict = {"items": {"type": "string", "pattern": rf"^{_ANY_RUNG}(\+{_ANY_RUNG})*$"}}


class DedupSettings(Options):
    """What counts as a duplicate, and which row of a group stays."""

    rungs: tuple[str, ...] = Field(
        default=(),
        description="What makes two rows duplicates, several if given several times: bytes, pixels, phash, image, "
        "mirrored (or rotated), text, near-text; image+text where both must hold. If not given: bytes, pixels and "
        "image; in a dataset without images text and near-text.",
        json_schema_extra=_RUNGS,
    )
    same: tuple[str, ...] = Field(
        default=(),
        description="Column of the dataset in which duplicates must agree, such as a size; several if given several "
        "times.",
    )
    not_duplicates: str | None = Field(
        default=None,
        description="File with pairs of ids that are no duplicates of each other: Parquet or CSV with the columns id "
        "and other, or two ids in each line.",
    )
    phash_radius: int = Field(
        default=3, ge=0, le=10, description="Rung phash: perceptual hashes that differ in at most this many of 64 bits."
    )
    mirrored_radius: int = Field(
        default=6,
        ge=1,
        le=10,
        description="Rung mirrored: the same, after the hash of one is mirrored or rotated.",
    )
    image_cosine: float = Field(
        default=0.985, ge=0.5, lt=1, description="Rung image: image vectors with at least this cosine, below 1."
    )
    text_cosine: float = Field(
        default=0.985, ge=0.5, lt=1, description="Rung near-text: text vectors with at least this cosine, below 1."
    )
    border: float = Field(
        default=0.35,
        ge=0,
        le=0.5,
        description="Compare a vector across the border of its cell if it is this near, as a part of the distance that "
        "duplicates may have. At 0.5 no pair can be missed; less is faster, and misses one in some thousands.",
    )
    against: tuple[str, ...] = Field(
        default=(),
        description="Another dataset, such as a test set: rows that duplicate one of its rows are dropped. It is only "
        "read; several if given several times.",
    )
    keep: Keep | None = Field(
        default=None,
        description="Which of duplicates stays: that of the highest similarity, of the largest image, or of the first "
        "id. If not given: similarity if the dataset has it, else largest, else first.",
    )
    keep_margin: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Similarities this near to the best of a group count as equal; then pixels, bytes, format and "
        "date decide.",
    )
    keep_sql: str | None = Field(
        default=None,
        min_length=1,
        description="The same as an ORDER BY of DuckDB over the dataset's columns, format and run_date; its "
        "first row stays.",
    )
    reconsider: bool = Field(
        default=False,
        description="Decide all rows anew. Else what an earlier run kept stays kept, and groups keep their names.",
    )
    pairs: bool = Field(
        default=False,
        description="Also write OUT/dedup/pairs.parquet: the pairs that link the groups, with rung and distance.",
    )

    @field_validator("against")
    @classmethod
    def _without_credentials(cls, uris: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(refuse_credentials, uris))

    @field_validator("not_duplicates")
    @classmethod
    def _file_without_credentials(cls, uri: str | None) -> str | None:
        return uri and refuse_credentials(uri)

    @field_validator("rungs")
    @classmethod
    def _known_rungs(cls, rungs: tuple[str, ...]) -> tuple[str, ...]:
        return tuple("+".join(map(str, parts_of(name))) for name in rungs)


def parts_of(rung: str) -> tuple[Rung, ...]:
    """The parts of `image+text`, strongest first. Raises ValueError."""
    parts = {part.strip() for part in rung.split("+")}
    if unknown := sorted(parts - set(Rung)):
        raise ValueError(f"{unknown[0]!r} is no rung: choose among {', '.join(Rung)}, or join some of them with +")
    return tuple(known for known in Rung if known in parts)


def digest(**values: object) -> str:
    """A name for these values that is the same in every process."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
