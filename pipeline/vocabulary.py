"""Names in hanclip's data and options: stages, quarantine reasons, columns, the format version and closed choices.

Plain Python, so that the command line can use them without loading Arrow or pydantic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Literal

#: Increased when files get columns, or when a reader of the previous version would misread them. A dataset keeps the
#: version that it was made with.
FORMAT_VERSION = 3


class Stage(StrEnum):
    """Where the processing of a record failed."""

    READ = "read"
    DECODE = "decode"
    TEXT = "text"
    EMBED = "embed"


class Reason(StrEnum):
    """Why a record is in quarantine. A closed set: readers may switch on it."""

    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    HOST_DOWN = "host_down"
    TOO_LARGE = "too_large"
    BAD_URI = "bad_uri"
    ADDRESS_REFUSED = "address_refused"
    DISALLOWED = "disallowed"
    CHANGED = "changed"
    MISSING_IMAGE = "missing_image"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TRUNCATED = "truncated"
    TOO_MANY_PIXELS = "too_many_pixels"
    UNSUPPORTED_MODE = "unsupported_mode"
    UNREADABLE = "unreadable"
    EMPTY_TEXT = "empty_text"
    BAD_TEXT = "bad_text"
    TEXT_TOO_LONG = "text_too_long"
    NOT_FINITE = "not_finite"
    CRASHED_WORKER = "crashed_worker"


#: Reasons for which a retry may succeed; with the others, the source has to change first.
TRANSIENT_REASONS = frozenset(
    {Reason.TIMEOUT, Reason.UNAVAILABLE, Reason.HOST_DOWN, Reason.CHANGED, Reason.CRASHED_WORKER}
)

#: What the exit codes of commands mean.
EXIT_CODES: Mapping[int, str] = {
    0: "complete",
    1: "failed; what was committed stays, and the same command resumes. `verify`, `sync --verify`: differences found",
    2: "wrong use, such as an OUT that cannot be written; nothing was started",
    3: "complete, but more than `--max-quarantine` of the records are in quarantine",
    130: "stopped by Ctrl-C; the same command resumes",
    143: "stopped by SIGTERM; the same command resumes",
}


class Skip(StrEnum):
    """Why an entry of a source is not a record. `pipeline.stats` has the words for each."""

    UNKNOWN_SUFFIX = "unknown_suffix"
    NO_SUFFIX = "no_suffix"
    OTHER_FORMAT = "other_format"
    LONE_TEXT = "lone_text"
    LONE_IMAGE = "lone_image"
    HIDDEN = "hidden"
    UNFINISHED = "unfinished"
    FOLDER_LINK = "folder_link"
    BROKEN_LINK = "broken_link"
    SPECIAL_FILE = "special_file"
    FOLDER_MARKER = "folder_marker"
    UNREADABLE_FOLDER = "unreadable_folder"
    UNREADABLE_FILE = "unreadable_file"
    VANISHED = "vanished"
    UNKNOWN_MEMBER = "unknown_member"
    SPECIAL_MEMBER = "special_member"
    UNFOLLOWED_LINK = "unfollowed_link"


#: Columns of the embeddings that hanclip writes; a source column of such a name is carried under another.
RESERVED_COLUMNS = (
    "id",
    "image_uri",
    "image_sha256",
    "image_phash",
    "image_pixels_xxh128",
    "image_width",
    "image_height",
    "image_blank_rows",
    "image_bytes",
    "text",
    "image_embedding",
    "text_embedding",
    "similarity",
    "source_fingerprint",
    "run_date",
)


class Signal(StrEnum):
    """What can be measured of a picture while it is decoded, see `pipeline.images.measures.signals`; a column each."""

    SHARPNESS = "sharpness"
    BRIGHTNESS = "brightness"
    CONTRAST = "contrast"
    DARK = "dark"
    LIGHT = "light"
    ENTROPY = "entropy"
    BORDER = "border"
    COLORFULNESS = "colorfulness"

    @property
    def column(self) -> str:
        """Name of its column; a source's column of such a name is carried under another if the dataset has it."""
        return f"image_{self.value}"


def signals_of(given: Iterable[str]) -> tuple[str, ...]:
    """The signals that are named, with commas between names or as several items; `all` is all. Raises ValueError."""
    names = {name.strip() for part in given for name in part.split(",")}
    if unknown := sorted(names - {*Signal, "all"}):
        raise ValueError(f"{unknown[0]!r} is no signal: choose among {', '.join(Signal)}, or all")
    return tuple(str(signal) for signal in Signal if names & {signal, "all"})


#: Number format of a model; `auto` is bf16 if the hardware supports it, else fp32.
Dtype = Literal["auto", "bf16", "fp16", "fp32"]

#: Values of the makers of rows (`pipeline.dataset.footer`): the rows needed none; their passes had no fixed shape.
NOT_USED, VARYING_PASSES = "none", "varying"

#: What to do with a text that has more tokens than the model takes, see `pipeline.model.tokenizer`.
TextOverflow = Literal["truncate", "mean-of-windows", "quarantine"]

#: What to do with several captions of an image, see `pipeline.sources.table.cells`.
Captions = Literal["first", "joined", "rows"]

#: The formats of sources. Each is a package of `pipeline.sources` (see `pipeline.sources.registry`).
SourceKind = Literal["folder", "webdataset", "table", "chinese-clip"]

#: How ids that repeat in a source become unique, see `pipeline.sources.containers.unique_ids`.
UniqueIds = Literal["container", "row"]

#: Kinds of vector index, see `pipeline.curation.search.index.files`.
IndexKind = Literal["flat", "ivf", "hnsw"]

#: Which vectors are searched, see `pipeline.curation.search.sides`.
Side = Literal["images", "texts"]

#: Which partitions a backfill runs, see `pipeline.partitions.due`, and in which order.
Reprocess = Literal["failed", "missing", "stale", "all"]
Order = Literal["oldest", "newest"]


class Rung(StrEnum):
    """A criterion for duplicates, strictest first."""

    BYTES = "bytes"
    PIXELS = "pixels"
    PHASH = "phash"
    IMAGE = "image"
    MIRRORED = "mirrored"
    TEXT = "text"
    NEAR_TEXT = "near-text"


class Keep(StrEnum):
    """Which row of a group of duplicates to keep; ties are broken by the smaller id."""

    SIMILARITY = "similarity"
    LARGEST = "largest"
    FIRST = "first"


class Form(StrEnum):
    """What a filter writes for the kept rows."""

    IDS = "ids"
    DATASET = "dataset"
    TARS = "tars"


#: What the images in tars may be called, whatever their encoding.
ImageName = Literal["jpg", "png", "webp"]
