"""Reads the keys of files of a dataset: from the index where it has them, else from the files.

In: files as listed. Out: their keys as a stream, with the file and the row of each. A block that turns out to be
damaged is left where it fails, and the rest is read from the files, so no row comes twice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.keys.block import KEYS, DamagedBlockError
from pipeline.dataset.keys.bounds import groups_around
from pipeline.dataset.keys.facts import FileVersion
from pipeline.dataset.keys.index import FEW_FILES, Covered, KeyIndex
from pipeline.dataset.shard_file import opened

logger = logging.getLogger(__name__)

#: id, source_fingerprint and, of a quarantined record, attempts.
ROW_KEYS = pa.schema([KEYS.field(number) for number in range(3)])
_FILES_AT_ONCE = 16
#: Files with less than this part of a block's rows are read themselves.
_FEW = 16


@dataclass(frozen=True, slots=True)
class KeyRows:
    """Keys, rows of `ROW_KEYS`; and of each the number of its file among those asked for, and its row there."""

    keys: pa.Table
    files: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]

    def among(self, ids: pa.Array) -> KeyRows:
        """Those of these ids."""
        chosen = pc.is_in(self.keys["id"], ids)
        mask = chosen.to_numpy()
        return KeyRows(self.keys.filter(chosen), self.files[mask], self.rows[mask])


class KeyReader:
    """Reads the keys of `files` of the dataset at `out`.

    Args:
        out: the dataset.
        files: which ones, in the versions that are listed.
        ids: the smallest and the largest id of interest; files that the index has and that have none are left out.

    Attributes:
        rest: numbers of the files that are read themselves.
    """

    def __init__(self, out: str, files: Sequence[FileVersion], ids: tuple[str, str] | None = None) -> None:
        self._out, self._files = out, files
        self._ids: Sequence[str] | None = None
        covered, rest = KeyIndex.open(out, len(files)).cover(files)
        if ids is not None:
            covered = [of.between(*ids) for of in covered]
        self.rest = rest
        self._read_these(covered)

    def leave_out_all_without(self, ids: Sequence[str]) -> None:
        """Leave out what can have none of these ids, which are sorted: files that the index has, and row groups."""
        self._ids = ids
        self._read_these([of.around(ids) for of in self._covered], FEW_FILES)

    def _read_these(self, covered: Sequence[Covered], few_files: int = 0) -> None:
        few = [of for of in covered if _FEW * of.rows < of.block.rows or len(of.files) < few_files]
        self._covered = [of for of in covered if of not in few]
        self.rest = [*self.rest, *(number for of in few for number in of.wanted.tolist())]

    def indexed(self) -> Iterator[KeyRows]:
        """The keys that the index has, files in any order. Raises StorageError, RunError if a file has to be read."""
        for of in self._covered:
            done = 0
            try:
                for table in of.block.tables():
                    yield _chosen(of, table, done)
                    done += table.num_rows
            except DamagedBlockError as error:
                logger.info("%s: the files that it was of are read instead.", error)
                yield from _left(self._out, self._files, of, done)

    def direct(self) -> Iterator[KeyRows]:
        """The keys of the other files. Raises StorageError, RunError."""
        found = _direct(self._out, [self._files[number] for number in self.rest], self._ids)
        for number, (keys, rows) in zip(self.rest, found, strict=True):
            yield KeyRows(keys, np.full(keys.num_rows, number), rows)


def read_keys(out: str, files: Sequence[FileVersion], ids: Sequence[str] | None = None) -> Iterator[KeyRows]:
    """The keys of `files` of the dataset at `out`, in any order of the files; if `ids` are given, theirs alone.

    Raises:
        StorageError, RunError: a file that the index lacks cannot be read.
    """
    reader = KeyReader(out, files)
    wanted = None
    if ids is not None:
        reader.leave_out_all_without(sorted(ids))
        wanted = pa.array(ids, pa.string())
    for found in chain(reader.indexed(), reader.direct()):
        yield found if wanted is None else found.among(wanted)


def read_file(out: str, file: FileVersion) -> pa.Table:
    """The keys of one file, rows of `ROW_KEYS`. Raises StorageError, RunError."""
    return _read(out, file, None)[0]


def _read(out: str, file: FileVersion, ids: Sequence[str] | None) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """The keys of one file and their rows in it; if there are `ids`, of the row groups that may hold one of them."""
    folder, _, _ = file.name.partition("/")
    names = ROW_KEYS.names if folder == layout.QUARANTINE else ROW_KEYS.names[:2]
    with opened(storage.join(out, file.name)) as parquet:
        about = parquet.metadata
        groups = list(range(about.num_row_groups)) if ids is None else groups_around(about, ids)
        starts = np.cumsum([0, *(about.row_group(group).num_rows for group in range(about.num_row_groups))])
        table = parquet.read_row_groups(groups, names).select(names)
    if folder != layout.QUARANTINE:
        table = table.append_column(ROW_KEYS.field(2), pa.nulls(table.num_rows, pa.int32()))
    rows = [np.arange(starts[group], starts[group + 1]) for group in groups]
    return table.cast(ROW_KEYS), np.concatenate([np.empty(0, np.int64), *rows])


def _chosen(of: Covered, table: pa.Table, done: int) -> KeyRows:
    """The rows of wanted files in a table of a block, after `done` rows of it."""
    wanted = np.full(of.block.facts.num_rows, -1, np.int64)
    wanted[of.files] = of.wanted
    in_block = table["file"].to_numpy()
    numbers, rows = wanted[in_block], np.arange(done, done + table.num_rows) - of.block.starts[in_block]
    keys = table.select(ROW_KEYS.names)
    if (numbers < 0).any():
        chosen = numbers >= 0
        keys, numbers, rows = keys.filter(pa.array(chosen)), numbers[chosen], rows[chosen]
    return KeyRows(keys, numbers, rows)


def _left(out: str, files: Sequence[FileVersion], of: Covered, done: int) -> Iterator[KeyRows]:
    """What is missing of the wanted files of a block after `done` rows of it."""
    left = of.block.starts[of.files + 1] > done
    numbers, skips = of.wanted[left], np.maximum(done - of.block.starts[of.files[left]], 0)
    found = _direct(out, [files[number] for number in numbers])
    for number, skip, (keys, rows) in zip(numbers.tolist(), skips.tolist(), found, strict=True):
        yield KeyRows(keys.slice(skip), np.full(len(rows) - skip, number), rows[skip:])


def _direct(
    out: str, files: Sequence[FileVersion], ids: Sequence[str] | None = None
) -> Iterator[tuple[pa.Table, npt.NDArray[np.int64]]]:
    for first in range(0, len(files), _FILES_AT_ONCE):
        some = files[first : first + _FILES_AT_ONCE]
        yield from storage.in_threads(lambda file: _read(out, file, ids), some, _FILES_AT_ONCE)
