"""The note of a tar: a JSON file that says which rows are in the tar, so that a later call need not write it again.

A note that is damaged, or of a later version, counts as none, and its tar is written again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from pydantic import ConfigDict, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from pipeline import storage
from pipeline.errors import NotFoundError
from pipeline.vocabulary import TRANSIENT_REASONS

NOTES = "_tars"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row without a readable image, as a row of the table `FAILURES`."""

    id: str
    source_fingerprint: str
    image_uri: str | None
    stage: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Note:
    """The contents of one tar, as stored in its JSON file.

    Attributes:
        first, rows: number of the first row and count of rows; digest: of their ids.
        samples: rows that are in the tar; size_bytes, sha256: of the file.
        failures: the other rows.
        members: the suffixes of each kind of sample, such as "jpg json txt".
        filled, leading: columns with a value in some sample, and in one of the first five. Notes of earlier versions
            have none of these three.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    first: NonNegativeInt
    rows: PositiveInt
    digest: str
    samples: NonNegativeInt
    size_bytes: NonNegativeInt
    sha256: str
    failures: list[LeftOut] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    filled: list[str] = field(default_factory=list)
    leading: list[str] = field(default_factory=list)

    @property
    def final(self) -> bool:
        """Whether writing the tar again could not recover any failed row."""
        return not any(failure.reason in TRANSIENT_REASONS for failure in self.failures)


_NOTE = TypeAdapter(Note)


def read_note(uri: str, number: int) -> Note | None:
    """The note of a tar below `uri`; None if there is none that can be used. Raises StorageError."""
    try:
        note = _NOTE.validate_json(storage.read_bytes(note_uri(uri, number)))
    except (NotFoundError, ValidationError):
        return None
    return note if note.samples + len(note.failures) == note.rows else None


def write_note(uri: str, number: int, note: Note) -> None:
    """Store the note of a tar below `uri`, which must be there already."""
    storage.overwrite(note_uri(uri, number), storage.json_bytes(asdict(note)))


def note_uri(uri: str, number: int) -> str:
    """The URI of a tar's note."""
    return storage.join(uri, NOTES, f"{number:06d}.json")
