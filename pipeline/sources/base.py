"""The contract of a source: `scan` lists it once as records, a `RecordReader` reads them wherever a worker runs.

`scan(config, sink)` hands batches of `schema.RECORDS` to `sink` and returns the `SourceSpec`, a small value that
travels to the workers, where `reader(spec)` makes the matching `RecordReader`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import pyarrow as pa

from pipeline.config import SourceConfig
from pipeline.errors import (
    AddressRefusedError,
    BadUriError,
    ForbiddenError,
    NotFoundError,
    SourceError,
    StorageError,
    TimedOutError,
    TooLargeError,
    UnavailableError,
)
from pipeline.records import Failure, RawRecord, Record
from pipeline.vocabulary import RESERVED_COLUMNS, Reason, Stage

Kind = Literal["folder", "webdataset", "table", "chinese-clip"]
Sink = Callable[[pa.RecordBatch], None]

#: Containers that can only be read from their beginning.
SEQUENTIAL_SUFFIXES = (".tar.gz", ".tgz", ".csv", ".tsv", ".jsonl", ".ndjson", ".csv.gz", ".tsv.gz", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table by role; None where it has none."""

    id: str | None
    image: str | None
    image_is_uri: bool
    text: str | None
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A scanned source, ready to be read.

    Attributes:
        kind: its format.
        config: what the user asked for.
        has_images: records have images; a record without one fails.
        has_texts: at least one record may have a text.
        extra: further columns that each record carries, in `RawRecord.extra`.
        records: how many were listed.
        columns: the roles of a table's columns.
        caption_key: key of the text in a tar's .json members, used where there is no .txt.
        notes: sentences for the user about what was left out or found damaged.
        texts: how many of the records have a text, where listing them tells.
        classes: index and name of each class folder's class, where folders are classes.
    """

    kind: Kind
    config: SourceConfig
    has_images: bool
    has_texts: bool
    extra: pa.Schema
    records: int
    columns: Columns | None = None
    caption_key: str | None = None
    notes: tuple[str, ...] = field(default=())
    texts: int | None = None
    classes: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    def describe(self) -> str:
        """One line for people."""
        held = {(True, True): self._pairs(), (True, False): "images", (False, True): "texts"}
        what = held.get((self.has_images, self.has_texts), "records")
        carried = f", carrying {', '.join(self.extra.names)}" if self.extra.names else ""
        return f"{self.records:,} {what} from a {self.kind} source ({', '.join(self.config.uris)}){carried}"

    def _pairs(self) -> str:
        if self.texts is None:
            return "images, some with texts,"
        return "image-text pairs" if self.texts == self.records else f"images, {self.texts:,} of them with a text,"


def is_sequential(container: str | None) -> bool:
    """Whether reading this container out of order is expensive."""
    return container is not None and container.lower().endswith(SEQUENTIAL_SUFFIXES)


class RecordReader(Protocol):
    """Reads records of one source. Two threads may call `read` at the same time."""

    def read(self, records: Sequence[Record]) -> list[RawRecord]:
        """One result per record, in order; what goes wrong with a record is its `failure`.

        Raises:
            UnavailableError: the store is down for all of them.
        """

    def close(self) -> None:
        """Close what is open."""


class PlacedReader:
    """Reads with `reader` the records that have a place; one without is `changed`."""

    def __init__(self, reader: RecordReader) -> None:
        self._reader = reader

    def read(self, records: Sequence[Record]) -> list[RawRecord]:
        """See `RecordReader.read`."""
        found = iter(self._reader.read([record for record in records if record.placed]))
        return [next(found) if record.placed else failed(record, Reason.CHANGED, _CHANGED) for record in records]

    def close(self) -> None:
        """Close what is open."""
        self._reader.close()


_CHANGED = "The source lists this id in another state now, which is planned as a record of its own."

#: What a record fails with when its store says nothing about it.
NO_ANSWER = frozenset({Reason.TIMEOUT, Reason.UNAVAILABLE})

_REASONS: tuple[tuple[type[StorageError], Reason], ...] = (
    (BadUriError, Reason.BAD_URI),
    (NotFoundError, Reason.NOT_FOUND),
    (AddressRefusedError, Reason.ADDRESS_REFUSED),
    (ForbiddenError, Reason.FORBIDDEN),
    (TimedOutError, Reason.TIMEOUT),
    (UnavailableError, Reason.UNAVAILABLE),
    (TooLargeError, Reason.TOO_LARGE),
)


def read_failure(error: StorageError) -> Failure:
    """The quarantine reason of an object that could not be read."""
    reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), Reason.UNREADABLE)
    return Failure(Stage.READ, reason, str(error))


def failed(record: Record, reason: Reason, detail: str, stage: Stage = Stage.READ) -> RawRecord:
    """A record that goes to quarantine."""
    return RawRecord(record, failure=Failure(stage, reason, detail))


def raise_if_all_unavailable(results: Sequence[bytes | StorageError]) -> None:
    """A store that is down is the shard's failure, not that of each record."""
    errors = [result for result in results if isinstance(result, UnavailableError)]
    if errors and len(errors) == len(results):
        raise errors[0]


def choose_extra(found: pa.Schema, config: SourceConfig) -> pa.Schema:
    """The columns to carry: those asked for, else all of `found`.

    Raises:
        SourceError: one asked for is missing, or one has a name that hanclip writes itself.
    """
    wanted = found.names if config.extra_columns is None else list(config.extra_columns)
    missing = sorted(set(wanted) - set(found.names))
    if missing:
        raise SourceError(
            f"The source has no column {', '.join(missing)}; it has {', '.join(found.names) or 'none'}. "
            "Correct --extra-column."
        )
    taken = sorted(set(wanted) & set(RESERVED_COLUMNS))
    if taken:
        raise SourceError(
            f"The source's column {', '.join(taken)} has a name that hanclip writes itself. "
            "Rename it, or name the columns to keep with --extra-column."
        )
    return pa.schema([found.field(name) for name in wanted])
