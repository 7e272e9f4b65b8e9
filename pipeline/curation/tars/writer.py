"""Splits a stream of rows into WebDataset tars, each uploaded whole and followed by a note of its contents.

In: rows in order, and a reader of their images. Out: `000000.tar`, ... and `_tars/000000.json`, ... A tar whose note
shows the same contents is not written again, so a killed call loses one tar at most.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain, islice
from typing import Any

from pipeline import storage
from pipeline.curation.originals.image_reader import ImageReader, ImageRequest
from pipeline.curation.tars.options import TarOptions
from pipeline.curation.tars.sample import members_of
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.schema import quarantine_row
from pipeline.errors import NotFoundError
from pipeline.phases import OnRows
from pipeline.records import Failure
from pipeline.scratch.folder import ScratchFolder
from pipeline.vocabulary import TRANSIENT_REASONS

NOTES = "_tars"
#: Name of the first tar.
TAR = "000000.tar"
BLOCK_ROWS = 256
#: `load_dataset("webdataset")` takes the types of the columns from so many samples.
_TYPED_BY = 5
TarRow = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Note:
    """The contents of one tar, as stored in its JSON file.

    Attributes:
        first, rows: number of the first row and count of rows; digest: of their ids.
        samples: rows that are in the tar; size_bytes, sha256: of the file.
        failures: the other rows, as rows of `FAILURES`.
        members: the suffixes of each kind of sample, such as "jpg json txt".
        filled, leading: columns with a value in some sample, and in one of the first five. Notes of earlier versions
            have none of these three.
    """

    first: int
    rows: int
    digest: str
    samples: int
    size_bytes: int
    sha256: str
    failures: list[dict[str, Any]] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    filled: list[str] = field(default_factory=list)
    leading: list[str] = field(default_factory=list)

    @property
    def final(self) -> bool:
        """Whether writing the tar again could not recover any failed row."""
        return not any(failure["reason"] in TRANSIENT_REASONS for failure in self.failures)


class TarWriter:
    """Splits a stream of rows into tars."""

    def __init__(self, dataset: Dataset, uri: str, options: TarOptions, images: ImageReader) -> None:
        self._dataset, self._uri, self._options, self._images = dataset, uri, options, images
        self._rows: Iterator[TarRow] = iter(())

    def write(self, rows: Iterator[TarRow], on_rows: OnRows) -> list[Note]:
        """Write all tars; returns their notes without the failures. `on_rows` counts rows."""
        self._rows = rows
        notes: list[Note] = []
        first = 0
        while (ahead := next(self._rows, None)) is not None:
            self._rows = chain([ahead], self._rows)
            note = self._kept_note(len(notes), first, on_rows) or self._tar(len(notes), first, on_rows)
            notes.append(replace(note, failures=[]))
            first += notes[-1].rows
        for uri_of in (note_uri, tar_uri):  # an earlier call may have left more
            storage.delete_numbered(partial(uri_of, self._uri), len(notes))
        return notes

    def _kept_note(self, number: int, first: int, on_rows: OnRows) -> Note | None:
        """The note of an earlier call, if its tar is the one to write next; the rows of that tar are skipped."""
        try:
            note = Note(**json.loads(storage.read_bytes(note_uri(self._uri, number))))
            size_bytes = storage.stat(tar_uri(self._uri, number)).size_bytes
        except (NotFoundError, ValueError, TypeError):  # there is none, or it is damaged or of a later version
            return None
        if note.first != first or not note.final or note.size_bytes != size_bytes:
            return None
        taken = list(islice(self._rows, note.rows))
        if _digest(row["id"] for row in taken) == note.digest:
            on_rows(note.rows)
            return note
        self._rows = chain(taken, self._rows)
        return None

    def _tar(self, number: int, first: int, on_rows: OnRows) -> Note:
        """Write the next tar, and then its note."""
        with ScratchFolder() as folder:
            staged = folder / "staged.tar"
            ids: list[str] = []
            failures: list[dict[str, Any]] = []
            kinds, filled, leading = set[str](), set[str](), set[str]()
            with tarfile.open(staged, "w", format=tarfile.PAX_FORMAT) as tar:
                for row, image in self._until_full(tar):
                    ids.append(row["id"])
                    on_rows(1)
                    if isinstance(image, Failure):
                        failures.append(_failure(row, image))
                    else:
                        kinds.add(_add(tar, self._members(row, image)))
                        given = {name for name, value in row.items() if value is not None}
                        leading |= given if len(ids) - len(failures) <= _TYPED_BY else set()
                        filled |= given
            with staged.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size_bytes = staged.stat().st_size
            storage.upload(tar_uri(self._uri, number), staged)
        samples = len(ids) - len(failures)
        seen = map(sorted, (kinds, filled, leading))
        note = Note(first, len(ids), _digest(ids), samples, size_bytes, sha256, failures, *seen)
        storage.overwrite(note_uri(self._uri, number), storage.json_bytes(asdict(note)))
        return note

    def _members(self, row: TarRow, image: bytes | None) -> Iterator[tuple[str, bytes]]:
        return members_of(row, self._dataset.identity.extra.names, image, self._options.image_name)

    def _until_full(self, tar: tarfile.TarFile) -> Iterator[tuple[TarRow, bytes | Failure | None]]:
        """Yield rows with their images until the tar is full; rows read beyond that are put back."""
        rows = 0
        while block := list(islice(self._rows, min(BLOCK_ROWS, self._options.rows - rows))):
            for used, (row, image) in enumerate(zip(block, self._read(block), strict=True), 1):
                yield row, image
                if self._options.size_bytes is not None and tar.offset >= self._options.size_bytes:
                    self._rows = chain(block[used:], self._rows)
                    return
            rows += len(block)
            if rows == self._options.rows:
                return

    def _read(self, rows: list[TarRow]) -> Iterator[bytes | Failure | None]:
        if not self._dataset.identity.has_images:
            return iter([None] * len(rows))
        return self._images.read([ImageRequest.of(row) for row in rows])


def _add(tar: tarfile.TarFile, members: Iterator[tuple[str, bytes]]) -> str:
    """Add files whose headers hold only names and sizes, so that the same rows give the same bytes.

    Returns their suffixes.
    """
    suffixes = []
    for name, content in members:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
        suffixes.append(name.partition(".")[2])
    return " ".join(sorted(suffixes))


def _failure(row: TarRow, failure: Failure) -> dict[str, Any]:
    """A row of `FAILURES`: a quarantine row without attempts."""
    failed = quarantine_row(row["id"], row["image_uri"], row["source_fingerprint"], failure, attempts=0)
    del failed["attempts"]
    return failed


def _digest(ids: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for id_ in ids:
        digest.update(id_.encode() + b"\n")
    return digest.hexdigest()


def tar_uri(uri: str, number: int) -> str:
    """The URI of a tar."""
    return storage.join(uri, f"{number:06d}.tar")


def note_uri(uri: str, number: int) -> str:
    """The URI of a tar's note."""
    return storage.join(uri, NOTES, f"{number:06d}.json")
