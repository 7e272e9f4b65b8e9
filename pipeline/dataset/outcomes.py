"""Collects every outcome that a dataset records for its ids, in the order of the runs that listed them.

In: a dataset. Out: the table `outcomes` of a workspace, one row per embedded row, quarantined record and tombstone,
numbered by `place`; and the files they come from, by which a `place` leads back to its row. Only keys are read, a few
files at a time, into a local file, so memory stays bounded.

Of two outcomes of an id, the one with the larger `place` is newer: files are ordered by run id, and one listing states
one outcome per id. A row counts for the run that listed it, even if a later run embedded it. Within a run, a shard's
quarantine file follows its embeddings file, so neighbours stay neighbours. Of a compacted file, each segment counts for
its own run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.compacted.segments import Segment
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.footer import decode_footer
from pipeline.dataset.layout import QUARANTINE, DataFile
from pipeline.dataset.schema import TOMBSTONES
from pipeline.dataset.shard_file import Footer, read_footers
from pipeline.errors import NotFoundError, RunError
from pipeline.scratch.spool import Spool
from pipeline.scratch.workspace import Workspace

RowNumbers = npt.NDArray[np.int64]

_KEYS_AT_ONCE, _ROWS_AT_ONCE = 16, 4  # files
_KEYS = ["id", "source_fingerprint"]
_OUTCOME = pa.schema([*(TOMBSTONES.field(name) for name in _KEYS), pa.field("kind", pa.int8(), nullable=False)])
_NUMBERED = pa.schema([pa.field("place", pa.int64(), nullable=False), *_OUTCOME])


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
        uri: its address.
        kind: outcome of its rows; GONE stands for a file of tombstones, GONE and RETURNED.
        run_id: the run that listed the records.
        shard_id, run_date: of an embeddings or a quarantine file, else empty.
        skip: number of its first row in the file.
        rows: how many rows of the file; None for all.
        first: `place` of its first row.
    """

    uri: str
    kind: Outcome
    run_id: str
    shard_id: str = ""
    run_date: str = ""
    skip: int = 0
    rows: int | None = None
    first: int = 0

    def places(self, rows: RowNumbers) -> RowNumbers:
        """The places of rows, given by their numbers in the file."""
        return rows - self.skip + self.first


def gather(dataset: Dataset, work: Workspace) -> list[OutcomeFile]:
    """Make the table `outcomes` in `work`; returns its files in row order. Raises StorageError, RunError."""
    files = sorted(_files(dataset), key=lambda file: (file.run_id, file.shard_id, file.kind, file.skip))
    placed: list[OutcomeFile] = []
    with Spool(work, "outcomes", _NUMBERED, "place") as outcomes:
        for start in range(0, len(files), _KEYS_AT_ONCE):
            some = files[start : start + _KEYS_AT_ONCE]
            for file, table in zip(some, storage.in_threads(_read_outcomes, some, _KEYS_AT_ONCE), strict=True):
                placed.append(replace(file, first=outcomes.rows))
                outcomes.add(table)
    return placed


def _files(dataset: Dataset) -> Iterator[OutcomeFile]:
    """Every file that counts, in no order. A quarantine file counts when its embeddings file names its attempt."""
    embeddings = dataset.files()
    named = {}
    for file, footer in zip(embeddings, read_footers(embeddings), strict=True):
        named[file.run_date, file.shard_id, footer.attempt] = footer
        yield from _parts(file, Outcome.EMBEDDED, footer, footer.segments)
    for file in layout.data_files(dataset.uri, QUARANTINE):
        named_by = named.get((file.run_date, file.shard_id, file.attempt))
        if named_by is not None:
            yield from _parts(file, Outcome.QUARANTINED, named_by, named_by.quarantine_segments)
    for run_id, uri in layout.tombstones(dataset.uri).items():
        yield OutcomeFile(uri, Outcome.GONE, run_id)


def _parts(file: DataFile, kind: Outcome, footer: Footer, segments: Sequence[Segment]) -> Iterator[OutcomeFile]:
    whole = OutcomeFile(file.uri, kind, footer.planned_by, file.shard_id, file.run_date)
    for one in segments:
        yield replace(whole, run_id=one.planned_by, run_date=one.run_date, skip=one.first, rows=one.rows)
    if not footer.segments and not footer.quarantine_segments:
        yield whole


def _read_outcomes(file: OutcomeFile) -> pa.Table:
    names = TOMBSTONES.names if file.kind == Outcome.GONE else _KEYS
    if file.rows is None:
        with _opened(file.uri) as parquet:
            table = parquet.read(names)
    else:
        table = read_rows(file.uri, np.arange(file.skip, file.skip + file.rows), names)
    if file.kind == Outcome.GONE:
        kinds = pc.if_else(table["gone"], pa.scalar(Outcome.GONE, pa.int8()), pa.scalar(Outcome.RETURNED, pa.int8()))
    else:
        kinds = pa.repeat(pa.scalar(file.kind, pa.int8()), table.num_rows)
    return table.select(_KEYS).append_column("kind", kinds).cast(_OUTCOME)


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
        for start, rows_of_file in zip(starts, np.split(rows, starts[1:]), strict=True):
            yield files[numbers[start]], rows_of_file


def positions(places: RowNumbers, files: Sequence[OutcomeFile]) -> tuple[RowNumbers, RowNumbers]:
    """The index of the file that holds each place, and the number of the row there."""
    firsts = np.array([file.first for file in files], np.int64)
    # Of files with the same first row all but the last are empty.
    numbers = np.searchsorted(firsts, places, side="right") - 1
    skips = np.array([file.skip for file in files], np.int64)
    return numbers, places - firsts[numbers] + skips[numbers]


def read_rows(uri: str, rows: RowNumbers, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of one Parquet file by their ascending numbers; row groups without any of them are not read."""
    tables, first = [], 0
    with _opened(uri) as parquet:
        for group in range(parquet.num_row_groups):
            size = parquet.metadata.row_group(group).num_rows
            wanted = rows[(rows >= first) & (rows < first + size)] - first
            if len(wanted):
                table = parquet.read_row_group(group, columns)
                tables.append(table if len(wanted) == size else table.take(wanted))
            first += size
    return pa.concat_tables(tables)


@contextmanager
def _opened(uri: str) -> Iterator[pq.ParquetFile]:
    try:
        with storage.open_seekable(uri) as source:
            yield pq.ParquetFile(source)
    except NotFoundError as error:
        raise RunError(
            f"{uri} is gone: a compaction may have replaced it while this command read it. Run the same command again."
        ) from error
    except (pa.ArrowException, KeyError, OSError) as error:
        raise RunError(f"{uri} cannot be read ({error}): audit its dataset with `hanclip verify`.") from error


def footer_of(uri: str) -> dict[str, str]:
    """The facts in the footer of a file."""
    with _opened(uri) as parquet:
        return decode_footer(parquet.metadata.metadata)
