"""Everything a dataset says about its ids, in the order in which its runs said it.

In: a dataset. Out: the table `words` of a workspace, one row for each embedded row, each quarantined record and each
tombstone, numbered by `place`; and the files they are in, by which a `place` leads back to its row. Only keys are read,
some files at a time, into a local file: memory stays bounded.

Of two words about an id the one with the larger `place` is newer: runs come in the order of their ids, and one listing
says one thing about an id. A row speaks for the run that listed it, not for a later one that embedded it. Inside a run
a shard's quarantine lies beside its embeddings, so neighbours stay neighbours.
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
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.footer import decode_footer
from pipeline.dataset.layout import QUARANTINE
from pipeline.dataset.schema import TOMBSTONES
from pipeline.dataset.shard_file import read_footers
from pipeline.errors import RunError
from pipeline.scratch.spool import Spool
from pipeline.scratch.workspace import Workspace

RowNumbers = npt.NDArray[np.int64]

_KEYS_AT_ONCE, _ROWS_AT_ONCE = 16, 4  # files
_KEYS = ["id", "source_fingerprint"]
_SAID = pa.schema([*(TOMBSTONES.field(name) for name in _KEYS), pa.field("kind", pa.int8(), nullable=False)])
_WORDS = pa.schema([pa.field("place", pa.int64(), nullable=False), *_SAID])


class Outcome(IntEnum):
    """What a word says; RETURNED repeats an earlier state by its fingerprint, GONE has no fingerprint."""

    GONE = 0
    RETURNED = 1
    QUARANTINED = 2
    EMBEDDED = 3


@dataclass(frozen=True, slots=True)
class OutcomeFile:
    """One file of the dataset that tells about ids.

    Attributes:
        uri: its address.
        kind: what its rows say; GONE stands for a file of tombstones of both kinds.
        run_id: the run whose listing it speaks for.
        shard_id, run_date: of an embeddings or a quarantine file, else empty.
        first: `place` of its first row.
    """

    uri: str
    kind: Outcome
    run_id: str
    shard_id: str = ""
    run_date: str = ""
    first: int = 0


def gather(dataset: Dataset, work: Workspace) -> list[OutcomeFile]:
    """Make the table `words` in `work`; returns the files in the order of their rows. Raises StorageError, RunError."""
    files = sorted(_files(dataset), key=lambda file: (file.run_id, file.shard_id, file.kind))
    placed: list[OutcomeFile] = []
    with Spool(work, "words", _WORDS, "place") as words:
        for start in range(0, len(files), _KEYS_AT_ONCE):
            some = files[start : start + _KEYS_AT_ONCE]
            for file, table in zip(some, storage.in_threads(_read_words, some, _KEYS_AT_ONCE), strict=True):
                placed.append(replace(file, first=words.rows))
                words.add(table)
    return placed


def _files(dataset: Dataset) -> Iterator[OutcomeFile]:
    """Every file that counts, in no order. A quarantine file does when the embeddings file names its attempt."""
    embeddings = dataset.files()
    named = {}
    for file, footer in zip(embeddings, read_footers(embeddings), strict=True):
        named[file.run_date, file.shard_id, footer.attempt] = footer.planned_by
        yield OutcomeFile(file.uri, Outcome.EMBEDDED, footer.planned_by, file.shard_id, file.run_date)
    for file in layout.data_files(dataset.uri, QUARANTINE):
        run_id = named.get((file.run_date, file.shard_id, file.attempt))
        if run_id is not None:
            yield OutcomeFile(file.uri, Outcome.QUARANTINED, run_id, file.shard_id, file.run_date)
    for run_id, uri in layout.tombstones(dataset.uri).items():
        yield OutcomeFile(uri, Outcome.GONE, run_id)


def _read_words(file: OutcomeFile) -> pa.Table:
    with _opened(file.uri) as parquet:
        table = parquet.read(TOMBSTONES.names if file.kind == Outcome.GONE else _KEYS)
    if file.kind == Outcome.GONE:
        kinds = pc.if_else(table["gone"], pa.scalar(Outcome.GONE, pa.int8()), pa.scalar(Outcome.RETURNED, pa.int8()))
    else:
        kinds = pa.repeat(pa.scalar(file.kind, pa.int8()), table.num_rows)
    return table.select(_KEYS).append_column("kind", kinds).cast(_SAID)


def tables_behind(
    words: Iterable[pa.RecordBatch], files: Sequence[OutcomeFile], read: Callable[[OutcomeFile, RowNumbers], pa.Table]
) -> Iterator[pa.Table]:
    """What `read` makes of each file behind `words`, which have a column `place`, ascending, and its rows' numbers.

    Tables come in the order of the words, and are read a few files at a time.
    """
    pieces = _by_file(words, files)
    while some := list(islice(pieces, _ROWS_AT_ONCE)):
        yield from storage.in_threads(lambda piece: read(*piece), some, _ROWS_AT_ONCE)


def _by_file(words: Iterable[pa.RecordBatch], files: Sequence[OutcomeFile]) -> Iterator[tuple[OutcomeFile, RowNumbers]]:
    """The files behind rows that have a column `place`, ascending, each with the numbers of its rows that are meant.

    A file may come twice in a row, where a batch ends inside it.
    """
    for batch in words:
        numbers, rows = positions(batch["place"].to_numpy(), files)
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        for start, rows_of_file in zip(starts, np.split(rows, starts[1:]), strict=True):
            yield files[numbers[start]], rows_of_file


def positions(places: RowNumbers, files: Sequence[OutcomeFile]) -> tuple[RowNumbers, RowNumbers]:
    """Where places lie: the index of the file of each, and its row there."""
    firsts = np.array([file.first for file in files], np.int64)
    # Of files with the same first row all but the last are empty.
    numbers = np.searchsorted(firsts, places, side="right") - 1
    return numbers, places - firsts[numbers]


def read_rows(uri: str, rows: RowNumbers, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of one Parquet file by their numbers, ascending; row groups without any of them are not read."""
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
    except (pa.ArrowException, KeyError, OSError) as error:
        raise RunError(f"{uri} cannot be read ({error}): see what `hanclip verify` says about its dataset.") from error


def footer_of(uri: str) -> dict[str, str]:
    """The facts in the footer of a file."""
    with _opened(uri) as parquet:
        return decode_footer(parquet.metadata.metadata)
