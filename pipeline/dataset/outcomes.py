"""Collects every outcome that a dataset records for its ids, in the order of the runs that listed them.

In: a dataset. Out: the table `outcomes` of a workspace, one row per embedded row, quarantined record and tombstone,
numbered by `place`; and the files they come from, by which a `place` leads back to its row. Only keys are read, from
the index of keys where it has them, into a local file, so memory stays bounded.

A place combines the number of a file and that of a row. Of two outcomes of an id, the one with the larger `place` is
newer: files are ordered by run id, and one listing states one outcome per id. A row counts for the run that listed it,
even if a later run embedded it. Within a run, a shard's quarantine file follows its embeddings file, so neighbours stay
neighbours. Of a compacted file, each segment counts for its own run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.compacted.segments import Segment
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.footer import decode_footer
from pipeline.dataset.keys.facts import FileVersion
from pipeline.dataset.keys.index import read_facts
from pipeline.dataset.keys.reading import KeyRows, read_keys
from pipeline.dataset.layout import QUARANTINE, DataFile
from pipeline.dataset.schema import TOMBSTONES
from pipeline.dataset.shard_file import ShardFacts, opened
from pipeline.scratch.spool import Spool
from pipeline.scratch.workspace import Workspace

RowNumbers = npt.NDArray[np.int64]

_ROWS_AT_ONCE, _FOOTERS_AT_ONCE = 4, 16  # files
#: No file has more rows.
_PLACES_PER_FILE = 2**32
_NUMBERED = pa.schema(
    [
        pa.field("place", pa.int64(), nullable=False),
        *(TOMBSTONES.field(name) for name in ("id", "source_fingerprint")),
        pa.field("kind", pa.int8(), nullable=False),
    ]
)


class Outcome(IntEnum):
    """What became of an id's state. RETURNED repeats an earlier state by its fingerprint; GONE has no fingerprint."""

    GONE = 0
    RETURNED = 1
    QUARANTINED = 2
    EMBEDDED = 3


@dataclass(frozen=True, slots=True)
class OutcomeFile:
    """One file of the dataset that holds outcomes, or one segment of a compacted file.

    Attributes:
        uri, listed: its address, and its version in the listing.
        kind: outcome of its rows; GONE stands for a file of tombstones, GONE and RETURNED.
        run_id: the run that listed the records.
        shard_id, run_date: of an embeddings or a quarantine file, else empty.
        skip: number of its first row in the file.
        first: `place` of its first row.
    """

    uri: str
    listed: FileVersion
    kind: Outcome
    run_id: str
    shard_id: str = ""
    run_date: str = ""
    skip: int = 0
    first: int = 0

    def places(self, rows: RowNumbers) -> RowNumbers:
        """The places of rows, given by their numbers in the file."""
        return rows - self.skip + self.first


def gather(dataset: Dataset, work: Workspace, ids: Sequence[str] | None = None) -> list[OutcomeFile]:
    """Make the table `outcomes` in `work`, of `ids` alone if they are given; returns its files by place.

    Raises:
        StorageError, RunError: a file cannot be read.
    """
    files = sorted(_files(dataset), key=lambda file: (file.run_id, file.shard_id, file.kind, file.skip))
    placed = [replace(file, first=number * _PLACES_PER_FILE) for number, file in enumerate(files)]
    listed = list(dict.fromkeys(file.listed for file in placed))
    numbers = _Numbers(listed, placed)
    with Spool(work, "outcomes", _NUMBERED) as outcomes:
        for found in read_keys(dataset.uri, listed, ids):
            outcomes.add(numbers.numbered(found))
    return placed


def _files(dataset: Dataset) -> Iterator[OutcomeFile]:
    """Every file that counts, in no order. A quarantine file counts when its embeddings file names its attempt."""
    embeddings = dataset.files()
    named = {}
    for file, facts in zip(embeddings, read_facts(dataset.uri, embeddings), strict=True):
        named[file.run_date, file.shard_id, facts.attempt] = facts
        whole = _outcome_file(dataset, file, Outcome.EMBEDDED, facts.planned_by)
        yield from _parts(whole, facts, facts.segments)
    for file in layout.data_files(dataset.uri, QUARANTINE):
        named_by = named.get((file.run_date, file.shard_id, file.attempt))
        if named_by is not None:
            whole = _outcome_file(dataset, file, Outcome.QUARANTINED, named_by.planned_by)
            yield from _parts(whole, named_by, named_by.quarantine_segments)
    for run_id, info in layout.tombstones(dataset.uri).items():
        yield OutcomeFile(info.uri, FileVersion.of(info, dataset.uri), Outcome.GONE, run_id)


def _outcome_file(dataset: Dataset, file: DataFile, kind: Outcome, run_id: str) -> OutcomeFile:
    return OutcomeFile(file.uri, FileVersion.of(file, dataset.uri), kind, run_id, file.shard_id, file.run_date)


def _parts(whole: OutcomeFile, facts: ShardFacts, segments: Sequence[Segment]) -> Iterator[OutcomeFile]:
    for one in segments:
        yield replace(whole, run_id=one.planned_by, run_date=one.run_date, skip=one.first)
    if not facts.segments and not facts.quarantine_segments:
        yield whole


class _Numbers:
    """Numbers the outcomes of files: finds the outcome file that each row belongs to.

    Args:
        listed: the files, in the order in which `KeyRows` counts them.
        placed: the outcome files with their places.
    """

    def __init__(self, listed: Sequence[FileVersion], placed: Sequence[OutcomeFile]) -> None:
        number = {file: n for n, file in enumerate(listed)}
        starts = np.array([number[file.listed] * _PLACES_PER_FILE + file.skip for file in placed], np.int64)
        order = np.argsort(starts)
        self._starts = starts[order]
        self._firsts = np.array([file.first for file in placed], np.int64)[order]
        self._kinds = np.array([file.kind for file in placed], np.int8)[order]

    def numbered(self, found: KeyRows) -> pa.Table:
        """Rows of `_NUMBERED`."""
        at = found.files * _PLACES_PER_FILE + found.rows
        part = np.searchsorted(self._starts, at, side="right") - 1
        states, kinds = found.keys["source_fingerprint"], pa.array(self._kinds[part])
        returned = pc.and_(pc.equal(kinds, pa.scalar(Outcome.GONE, pa.int8())), pc.is_valid(states))
        kinds = pc.if_else(returned, pa.scalar(Outcome.RETURNED, pa.int8()), kinds)
        places = pa.array(self._firsts[part] + at - self._starts[part])
        return pa.table([places, found.keys["id"], states, kinds], schema=_NUMBERED)


def tables_behind(
    places: Iterable[pa.RecordBatch], files: Sequence[OutcomeFile], read: Callable[[OutcomeFile, RowNumbers], pa.Table]
) -> Iterator[pa.Table]:
    """The tables that `read` returns for each file and the numbers of the wanted rows in it.

    `places` has the column `place`, ascending. Tables come in the same order, and a few files are read at a time.
    """
    pieces = _by_file(places, files)
    while some := list(islice(pieces, _ROWS_AT_ONCE)):
        yield from storage.in_threads(lambda piece: read(*piece), some, _ROWS_AT_ONCE)


def _by_file(
    places: Iterable[pa.RecordBatch], files: Sequence[OutcomeFile]
) -> Iterator[tuple[OutcomeFile, RowNumbers]]:
    """Each file with the numbers of the wanted rows in it. A file comes twice in a row where a batch ends inside it."""
    for batch in places:
        numbers, rows = positions(batch["place"].to_numpy(), files)
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        for start, end in zip(starts, np.append(starts, len(rows))[1:], strict=True):
            yield files[numbers[start]], rows[start:end]


def positions(places: RowNumbers, files: Sequence[OutcomeFile]) -> tuple[RowNumbers, RowNumbers]:
    """The index of the file that holds each place, and the number of the row there."""
    skips = np.array([file.skip for file in files], np.int64)
    numbers, rows = np.divmod(places, _PLACES_PER_FILE)
    return numbers, rows + skips[numbers]


def read_rows(uri: str, rows: RowNumbers, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of one Parquet file by their ascending numbers; row groups without any of them are not read."""
    tables, first = [], 0
    with opened(uri) as parquet:
        for group in range(parquet.num_row_groups):
            size = parquet.metadata.row_group(group).num_rows
            wanted = rows[(rows >= first) & (rows < first + size)] - first
            if len(wanted):
                table = parquet.read_row_group(group, columns)
                tables.append(table if len(wanted) == size else table.take(wanted))
            first += size
    return pa.concat_tables(tables)


def footer_of(uri: str) -> dict[str, str]:
    """The facts in the footer of a file."""
    with opened(uri) as parquet:
        return decode_footer(parquet.metadata.metadata)


def footers_of(files: Sequence[DataFile], most: int) -> list[dict[str, str]]:
    """The facts in the footers of some of the files, spread over all."""
    return storage.in_threads(footer_of, [file.uri for file in spread(files, most)], _FOOTERS_AT_ONCE)


def spread(values: Sequence[Any], count: int) -> list[Any]:
    """`count` of the values, evenly spaced, first and last included."""
    if len(values) <= count:
        return list(values)
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]
