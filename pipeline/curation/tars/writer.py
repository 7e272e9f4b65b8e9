"""Cuts a stream of rows into WebDataset tars; each appears whole or not at all, and then a note of what it holds.

In: rows in order, and a reader of their images. Out: `000000.tar`, ... and `_tars/000000.json`, ... A call that finds
the note of a tar that it would write itself passes over it, so a call that was killed costs one tar.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.curation.originals.image_reader import ImageReader, Wanted
from pipeline.curation.tars.sample import members_of
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.quarantine import quarantine_row
from pipeline.errors import NotFoundError
from pipeline.phases import OnRows
from pipeline.records import Failure
from pipeline.vocabulary import TRANSIENT_REASONS

NOTES = "_tars"
BLOCK_ROWS = 256
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TarLimits:
    """A tar is full at so many rows, or when its samples have at least so many bytes."""

    rows: int
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Note:
    """What one tar holds.

    Attributes:
        first, rows: the rows it stands for, of all kept ones in order; digest: of their ids.
        samples: rows that are in it; size_bytes, sha256: of the file.
        failures: the other rows, as rows of `FAILURES`.
    """

    first: int
    rows: int
    digest: str
    samples: int
    size_bytes: int
    sha256: str
    failures: list[dict[str, Any]] = field(default_factory=list)

    @property
    def final(self) -> bool:
        """Nothing would be better if it were written again."""
        return not any(failure["reason"] in TRANSIENT_REASONS for failure in self.failures)


class TarWriter:
    """Cuts a stream of rows into tars."""

    def __init__(self, dataset: Dataset, uri: str, limits: TarLimits, images: ImageReader) -> None:
        self._dataset, self._uri, self._limits, self._images = dataset, uri, limits, images
        self._rows: Iterator[Row] = iter(())

    def write(self, rows: Iterator[Row], on_rows: OnRows) -> list[Note]:
        """All of them, and what they hold but for the failures; `on_rows` counts rows."""
        self._rows = rows
        notes: list[Note] = []
        first = 0
        while (ahead := next(self._rows, None)) is not None:
            self._rows = chain([ahead], self._rows)
            note = self._kept_note(len(notes), first, on_rows) or self._tar(len(notes), first, on_rows)
            notes.append(replace(note, failures=[]))
            first += notes[-1].rows
        self._remove_behind(len(notes))
        return notes

    def _kept_note(self, number: int, first: int, on_rows: OnRows) -> Note | None:
        """What an earlier call wrote, if it is what this one would write; its rows are passed over."""
        try:
            note = Note(**json.loads(storage.read_bytes(note_uri(self._uri, number))))
            size_bytes = storage.stat(tar_uri(self._uri, number)).size_bytes
        except NotFoundError:
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
        with tempfile.TemporaryDirectory(prefix="hanclip-") as folder:
            staged = Path(folder) / "staged.tar"
            ids: list[str] = []
            failures: list[dict[str, Any]] = []
            with tarfile.open(staged, "w", format=tarfile.PAX_FORMAT) as tar:
                for row, got in self._until_full(tar):
                    ids.append(row["id"])
                    on_rows(1)
                    if isinstance(got, Failure):
                        failures.append(_failure(row, got))
                    else:
                        _add(tar, members_of(row, self._dataset.identity.extra.names, got))
            with staged.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size_bytes = staged.stat().st_size
            storage.upload(tar_uri(self._uri, number), staged)
        note = Note(first, len(ids), _digest(ids), len(ids) - len(failures), size_bytes, sha256, failures)
        storage.overwrite(note_uri(self._uri, number), to_json(asdict(note)))
        return note

    def _until_full(self, tar: tarfile.TarFile) -> Iterator[tuple[Row, bytes | Failure | None]]:
        """Rows with their images until the tar is full; what was read beyond goes back."""
        rows = 0
        while block := list(islice(self._rows, min(BLOCK_ROWS, self._limits.rows - rows))):
            for place, (row, got) in enumerate(zip(block, self._read(block), strict=True), 1):
                yield row, got
                if self._limits.size_bytes is not None and tar.offset >= self._limits.size_bytes:
                    self._rows = chain(block[place:], self._rows)
                    return
            rows += len(block)
            if rows == self._limits.rows:
                return

    def _read(self, rows: list[Row]) -> Iterator[bytes | Failure | None]:
        if not self._dataset.identity.has_images:
            return iter([None] * len(rows))
        return self._images.read([Wanted.of(row) for row in rows])

    def _remove_behind(self, tars: int) -> None:
        """What an earlier call cut smaller may have left more tars."""
        number = tars
        while storage.exists(tar_uri(self._uri, number)):
            for name in (note_uri(self._uri, number), tar_uri(self._uri, number)):
                storage.delete(name)
            number += 1


def _add(tar: tarfile.TarFile, members: Iterator[tuple[str, bytes]]) -> None:
    """Add files whose headers tell nothing but their names and sizes."""
    for name, content in members:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def _failure(row: Row, failure: Failure) -> dict[str, Any]:
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
    """The name of a tar."""
    return storage.join(uri, f"{number:06d}.tar")


def note_uri(uri: str, number: int) -> str:
    """The name of its note."""
    return storage.join(uri, NOTES, f"{number:06d}.json")


def to_json(tree: dict[str, Any]) -> bytes:
    """As people can read it."""
    return (json.dumps(tree, indent=2, ensure_ascii=False) + "\n").encode()
