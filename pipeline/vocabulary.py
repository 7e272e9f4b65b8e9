"""The words of hanclip's data: stages, quarantine reasons, column names, format version; those of backfills,
duplicates and filters.

Plain Python, so that the command line can name them without loading Arrow or pydantic.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

#: Raised when a reader written for the previous number would misread the files.
FORMAT_VERSION = 1


class Stage(StrEnum):
    """Where in a record's way it failed."""

    READ = "read"
    DECODE = "decode"
    TEXT = "text"
    EMBED = "embed"


class Reason(StrEnum):
    """Why a record is in quarantine. Closed: readers may switch on it."""

    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    TOO_LARGE = "too_large"
    BAD_URI = "bad_uri"
    ADDRESS_REFUSED = "address_refused"
    CHANGED = "changed"
    MISSING_IMAGE = "missing_image"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    TOO_MANY_PIXELS = "too_many_pixels"
    UNSUPPORTED_MODE = "unsupported_mode"
    UNREADABLE = "unreadable"
    EMPTY_TEXT = "empty_text"
    BAD_TEXT = "bad_text"
    TEXT_TOO_LONG = "text_too_long"
    NOT_FINITE = "not_finite"
    CRASHED_WORKER = "crashed_worker"


#: Reasons that may pass when tried again later; the others need the source to change.
TRANSIENT_REASONS = frozenset({Reason.TIMEOUT, Reason.UNAVAILABLE, Reason.CHANGED, Reason.CRASHED_WORKER})

#: Columns of the embeddings that hanclip itself writes; a source column may not have one of these names.
RESERVED_COLUMNS = (
    "id",
    "image_uri",
    "image_sha256",
    "image_phash",
    "image_pixels_xxh128",
    "image_width",
    "image_height",
    "text",
    "image_embedding",
    "text_embedding",
    "similarity",
    "source_fingerprint",
    "run_date",
)

#: Arithmetic of a model; `auto` is bf16 where the hardware has it, else fp32.
Dtype = Literal["auto", "bf16", "fp16", "fp32"]

#: What becomes of a text that has more tokens than the model takes, see `pipeline.model.tokenizer`.
TextOverflow = Literal["truncate", "mean-of-windows", "quarantine"]

#: The formats of sources. Each is a package of `pipeline.sources` (see `pipeline.sources.registry`).
SourceKind = Literal["folder", "webdataset", "table", "chinese-clip"]

#: How an index of vectors is built, see `pipeline.curation.search.index_files`.
IndexKind = Literal["flat", "ivf", "hnsw"]

#: Which partitions a backfill runs, see `pipeline.partitions.due`; and in which order.
Reprocess = Literal["failed", "missing", "stale", "all"]
Order = Literal["oldest", "newest"]


class Rung(StrEnum):
    """A way in which two rows are duplicates, strongest first."""

    BYTES = "bytes"
    PIXELS = "pixels"
    PHASH = "phash"
    IMAGE = "image"
    TEXT = "text"
    NEAR_TEXT = "near-text"


class Keep(StrEnum):
    """Which row of a group stays; equals are decided by the smaller id."""

    SIMILARITY = "similarity"
    LARGEST = "largest"
    FIRST = "first"


class Form(StrEnum):
    """What the kept rows become."""

    IDS = "ids"
    DATASET = "dataset"
    TARS = "tars"
