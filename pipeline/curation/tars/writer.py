"""Splits a stream of rows into WebDataset tars, each uploaded whole and followed by a note of its contents.

In: rows in order, and a reader of their images. Out: `000000.tar`, ... and `_tars/000000.json`, ... A tar whose note
shows the same contents is not written again, so a killed call loses one tar at most.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import Any

from pipeline import storage
from pipeline.curation.originals.image_reader import ImageReader, ImageRequest
from pipeline.curation.tars.note import LeftOut, Note, note_uri, read_note, write_note
from pipeline.curation.tars.options import TarOptions
from pipeline.curation.tars.sample import members_of
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.schema import quarantine_row
from pipeline.errors import NotFoundError
from pipeline.phases import OnRows
from pipeline.records import Failure
from pipeline.scratch.folder import ScratchFolder

#: Name of the first tar.
TAR = "000000.tar"
BLOCK_ROWS = 256
#: `load_dataset("webdataset")` takes the types of the columns from so many samples.
_TYPED_BY = 5
TarRow = dict[str, Any]


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
        note = read_note(self._uri, number)
        if note is None or note.first != first or not note.final or note.size_bytes != self._size_bytes(number):
            return None
        taken = list(islice(self._rows, note.rows))
        if _digest(row["id"] for row in taken) == note.digest:
            on_rows(note.rows)
            return note
        self._rows = chain(taken, self._rows)
        return None

    def _size_bytes(self, number: int) -> int | None:
        """Of a tar of an earlier call; None if there is none."""
        try:
            return storage.stat(tar_uri(self._uri, number)).size_bytes
        except NotFoundError:
            return None

    def _tar(self, number: int, first: int, on_rows: OnRows) -> Note:
        """Write the next tar, and then its note."""
        with ScratchFolder() as folder:
            staged = folder / "staged.tar"
            ids: list[str] = []
            failures: list[LeftOut] = []
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
        write_note(self._uri, number, note)
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


def _failure(row: TarRow, failure: Failure) -> LeftOut:
    """A quarantine row without attempts."""
    failed = quarantine_row(row["id"], row["image_uri"], row["source_fingerprint"], failure, attempts=0)
    del failed["attempts"]
    return LeftOut(**failed)


def _digest(ids: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for id_ in ids:
        digest.update(id_.encode() + b"\n")
    return digest.hexdigest()


def tar_uri(uri: str, number: int) -> str:
    """The URI of a tar."""
    return storage.join(uri, f"{number:06d}.tar")
