"""Writes the kept rows of a filter as WebDataset tars, with images copied from their sources.

In: a filter's workspace. Out: `000000.tar`, `000001.tar`, ... with the original bytes of the images, in the order of
their sources. Each tar appears whole or not at all; its note (`_tars/000000.json`) states which rows it holds, so
that a run that was killed resumes after the last one. A row without a readable image is in no tar but in the list of
failures: kept = written + failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from pipeline import storage
from pipeline.curation.filter.filtering import Filtered
from pipeline.curation.filter.judge import FAILED, ROW
from pipeline.curation.originals.image_reader import ImageReader
from pipeline.curation.originals.places import locate
from pipeline.curation.tables import write_table
from pipeline.curation.tars.note import LeftOut, Note, note_uri, read_note
from pipeline.curation.tars.options import TarOptions
from pipeline.curation.tars.sample import HANCLIP_COLUMNS
from pipeline.curation.tars.writer import BLOCK_ROWS, TarRow, TarWriter, tar_uri
from pipeline.curation.values.json_values import json_rows
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.schema import QUARANTINE
from pipeline.errors import RunError, StorageError, UsageError
from pipeline.phases import OnRows
from pipeline.scratch.workspace import Workspace
from pipeline.storage import claim_folder

CLAIM = "_tars.json"
FAILURES = QUARANTINE.remove(QUARANTINE.get_field_index("attempts"))


@dataclass(frozen=True, slots=True)
class Tars:
    """The written tars: kept = written + failed. The failures, which may be many, stay in the notes on disk."""

    uri: str
    notes: tuple[Note, ...]

    @property
    def written(self) -> int:
        """Number of rows in a tar."""
        return sum(note.samples for note in self.notes)

    @property
    def failed(self) -> int:
        """Number of rows without a readable image."""
        return sum(note.rows - note.samples for note in self.notes)

    @property
    def mixed(self) -> list[str]:
        """The suffixes of each kind of sample, if there are several; Hugging Face `datasets` loads one kind only."""
        kinds = sorted({kind for note in self.notes for kind in note.members})
        return kinds if len(kinds) > 1 else []

    @property
    def late(self) -> list[str]:
        """Columns with values, but none in the first samples, from which Hugging Face `datasets` takes the types."""
        if not self.notes or not self.notes[0].leading:
            return []
        there = {name for note in self.notes for name in note.filled}
        return sorted(there - {*self.notes[0].leading, "text", PLACE, ROW})

    @property
    def size_bytes(self) -> int:
        """Size of all tars."""
        return sum(note.size_bytes for note in self.notes)


def columns_of(dataset: Dataset) -> list[str]:
    """The columns that a sample is made of."""
    return [*HANCLIP_COLUMNS, "text", *dataset.identity.extra.names]


def write_tars(filtered: Filtered, work: Workspace, uri: str, options: TarOptions, on_rows: OnRows) -> Tars:
    """Write the kept rows to tars below `uri`, or resume that. `work` is a filter's, with the columns `columns_of`.

    Raises:
        UsageError: `uri` holds something else.
        UnavailableError: a source is down; the same call resumes.
        StorageError, RunError: reading or writing failed.
    """
    dataset = Dataset.open(filtered.out)
    claim = {
        "hanclip_tars": 2,
        "dataset": dataset.uri,
        "kept": filtered.counts.kept,
        "digest": filtered.digest,
        "rules": filtered.facts()["rules"],
        "tar_rows": options.rows,
        "tar_bytes": options.size_bytes,
        "image_name": options.image_name,
    }
    _claim(uri, claim)
    work.execute(f"CREATE TABLE kept AS SELECT {ROW}, {_columns(dataset)} FROM rows SEMI JOIN ({_KEPT}) USING ({ROW})")
    with ImageReader(dataset, locate(dataset.uri, work, "kept")) as images:
        tars = Tars(uri, tuple(TarWriter(dataset, uri, options, images).write(_rows(work), on_rows)))
    if tars.written + tars.failed != filtered.counts.kept:
        raise RunError(
            f"{tars.written:,} written + {tars.failed:,} failed are not the {filtered.counts.kept:,} rows kept: "
            f"{uri} is not complete. Run the same command again, and report this if it persists."
        )
    done = {
        **claim,
        "state": "complete",
        "written": tars.written,
        "tars": [_entry(n, note) for n, note in enumerate(tars.notes)],
    }
    storage.overwrite(storage.join(uri, CLAIM), storage.json_bytes(done))
    return tars


def write_failures(uri: str, tars: Tars, filtered: Filtered) -> Counter[str]:
    """Write the table of kept rows that are in no tar, with reasons; returns rows by reason. Raises StorageError."""
    reasons: Counter[str] = Counter()

    def tables() -> Iterator[pa.Table]:
        for number in range(len(tars.notes)):
            failures = _failures(tars.uri, number)
            reasons.update(failure.reason for failure in failures)
            yield pa.Table.from_pylist([asdict(failure) for failure in failures], schema=FAILURES)

    write_table(uri, FAILURES, tables(), filtered.facts())
    return reasons


def _failures(uri: str, number: int) -> list[LeftOut]:
    """The failures of a tar that was just written, or whose note was just read."""
    note = read_note(uri, number)
    if note is None:
        noted = note_uri(uri, number)
        cure = "run the same command again, which writes its tar again."
        raise StorageError(f"{storage.printable(noted)} is missing or damaged: {cure}", noted)
    return note.failures


PLACE = "hanclip_place"
_KEPT = f"SELECT {ROW} FROM judged WHERE {FAILED} = 0"
_ORDERED = f"""
SELECT rows.*, hanclip_place FROM located JOIN rows USING ({ROW})
ORDER BY hanclip_place.container NULLS FIRST, hanclip_place.position NULLS FIRST, rows.id
"""


def _columns(dataset: Dataset) -> str:
    """The columns that locate and verify an image, as SQL."""
    names = ("id", "source_fingerprint", "image_uri", "image_sha256")
    return ", ".join(name for name in names if name in dataset.identity.schema.names)


def _rows(work: Workspace) -> Iterator[TarRow]:
    for batch in work.batches(_ORDERED):
        for start in range(0, batch.num_rows, BLOCK_ROWS):
            yield from _json_rows(batch.slice(start, BLOCK_ROWS))


def _json_rows(batch: pa.RecordBatch) -> Iterator[TarRow]:
    """The rows as JSON values, with their places as they are."""
    columns = pa.Table.from_batches([batch.drop_columns([PLACE])])
    for row, place in zip(json_rows(columns), batch[PLACE].to_pylist(), strict=True):
        yield {**row, PLACE: place}


def _claim(uri: str, claim: dict[str, Any]) -> None:
    """Claim the folder for these tars. Raises UsageError when it holds something else."""
    found = claim_folder(storage.join(uri, CLAIM), {**claim, "state": "writing"}, "tars of this filter")
    if {name: found.get(name) for name in claim} != claim:
        raise UsageError(f"{uri} holds the tars of other rows, rules or limits: choose another folder.")


def _entry(number: int, note: Note) -> dict[str, Any]:
    return {
        "name": storage.name(tar_uri("", number)),
        "samples": note.samples,
        "size_bytes": note.size_bytes,
        "sha256": note.sha256,
    }
