"""Stores the cells and near pairs of vectors between runs, so that a run compares only new vectors.

In: the vectors of a dataset's latest rows, keyed by the digest of what they were made from (pixels, a text). Out: the
cells and near pairs of those that an earlier run has compared. One Parquet file holds the state and is replaced whole:
a killed run leaves the previous state, and of two concurrent runs either leaves a correct one.

    OUT/_dedup/<name>/vectors.parquet      one row per vector: its key, its cells, the earlier vectors near it
    OUT/_dedup/<name>/space-<digest>.npz   the directions of the projection, and the centroids; the file above names it

A vector that is in none of the latest rows is dropped from the state. If it comes back, it is new.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.curation.dedup.pairs.cells import CellAssignment, Cells, Int32s
from pipeline.curation.dedup.pairs.near_pairs import NearPairs
from pipeline.curation.dedup.pairs.projections import Projection
from pipeline.curation.dedup.rows import Indices, Mask, Rows
from pipeline.curation.dedup.union_find import UnionFind
from pipeline.curation.tables import read_facts, write_table
from pipeline.dataset import layout
from pipeline.dataset.footer import decode_footer
from pipeline.errors import NotFoundError
from pipeline.scratch.spool import spool

_FOLDER = "_dedup"
_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("crowded", pa.bool_(), nullable=False),
        pa.field("home", pa.int32(), nullable=False),
        pa.field("visited", pa.list_(pa.int32()), nullable=False),
        pa.field("near", pa.list_(pa.int64()), nullable=False),
    ]
)
_BATCH_ROWS = 2**17
#: What reading a damaged state raises.
_DAMAGED = (pa.ArrowException, OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class CellIndex:
    """The projection of vectors, and the cells of the projections."""

    projection: Projection
    cells: Cells


@dataclass(frozen=True, slots=True)
class PairState:
    """What is known of C vectors, numbered by the caller.

    Attributes:
        index: None if there is none; all vectors must be assigned to cells again then.
        trained_on: how many vectors there were when the cells were trained.
        count: how many vectors the stored state holds, including those that are gone.
        assignment: the cells of the vectors that are not new.
        is_new: (C,) the vectors that no earlier run has compared.
        pairs: near pairs of the other vectors.
    """

    index: CellIndex | None
    trained_on: int
    count: int
    assignment: CellAssignment
    is_new: Mask
    pairs: NearPairs


def state_uri(out: str, name: str) -> str:
    """The folder of a state."""
    return storage.join(out, _FOLDER, name)


def stored_count(out: str, name: str) -> int:
    """How many vectors the stored state holds."""
    facts = read_facts(storage.join(state_uri(out, name), "vectors.parquet"))
    return int(facts["count"]) if facts else 0


def read_state(uri: str, rows: Rows, key: str, first_rows: Indices) -> PairState:
    """Read the state at `uri`.

    Args:
        uri: its folder.
        rows: the latest rows.
        key: SQL expression over the rows that identifies a vector.
        first_rows: the first row of each distinct vector; vectors are numbered in this order.
    """
    if not storage.exists(storage.join(uri, "vectors.parquet")):
        return _empty(len(first_rows))
    try:
        with storage.open_seekable(storage.join(uri, "vectors.parquet")) as source:
            return _stored(pq.ParquetFile(source), uri, rows, key, first_rows)
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno:  # the store's; those of a reader have no number
            raise
        return _empty(len(first_rows))  # it only saves time


def _stored(file: pq.ParquetFile, uri: str, rows: Rows, key: str, first_rows: Indices) -> PairState:
    footer = _footer(file)  # of the open file, since another run may be replacing it
    number = _numbers(file, rows, key, first_rows)
    crowded = file.read(["crowded"])["crowded"].to_numpy()
    first, second = _entries(file, "near")
    number = _drop_broken_clusters(number, crowded, first, second)
    is_new = np.ones(len(first_rows), bool)
    is_new[number[number >= 0]] = False
    return PairState(
        index=_read_index(uri, str(footer["space"])),
        trained_on=int(footer["trained_on"]),
        count=int(footer["count"]),
        assignment=_read_assignment(file, number, len(first_rows)),
        is_new=is_new,
        pairs=_renumbered(number, crowded, first, second),
    )


def _renumbered(number: Indices, crowded: Mask, first: Indices, second: Indices) -> NearPairs:
    """The stored pairs of vectors that still exist, by their present numbers."""
    first, second, crowd = number[first], number[second], number[crowded]
    both = (first >= 0) & (second >= 0)
    return NearPairs(first[both], second[both], crowd[crowd >= 0])


def _footer(file: pq.ParquetFile) -> dict[str, Any]:
    footer = decode_footer(file.schema_arrow.metadata)
    return {name: json.loads(footer[name]) for name in ("space", "trained_on", "count")}


def _empty(count: int) -> PairState:
    none, no_cells = np.empty(0, np.int64), np.empty(0, np.int32)
    assignment = CellAssignment(np.zeros(count, np.int32), no_cells, no_cells)
    return PairState(None, 0, 0, assignment, np.ones(count, bool), NearPairs(none, none, none))


def _numbers(file: pq.ParquetFile, rows: Rows, key: str, first_rows: Indices) -> Indices:
    """The present number of each stored vector, or -1."""
    keys = file.iter_batches(_BATCH_ROWS, columns=["key"])
    spool(rows.work, "known", pa.schema([_SCHEMA.field("key"), ("number", pa.int64())]), keys, number="number")
    found = rows.numbers(
        f"SELECT row, number AS value FROM (SELECT min(row) AS row, {key} AS key FROM rows "
        f"WHERE {key} IS NOT NULL GROUP BY 2) JOIN known USING (key)"
    )[first_rows]
    number = np.full(file.metadata.num_rows, -1)
    number[found[found >= 0]] = np.flatnonzero(found >= 0)
    return number


def _drop_broken_clusters(number: Indices, crowded: Mask, first: Indices, second: Indices) -> Indices:
    """Treat a dense cluster that lost a vector as new: the stored pairs may no longer connect it."""
    gone = np.flatnonzero(number < 0)
    if not len(gone) or not crowded.any():
        return number
    groups = UnionFind(len(number))
    groups.join(first, second)
    broken = crowded & np.isin(groups.roots, groups.roots[gone])
    return np.where(broken, -1, number)


def _entries(file: pq.ParquetFile, column: str) -> tuple[Indices, Indices]:
    """The values of a list column, and the row of each."""
    values, parents, start = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for batch in file.iter_batches(_BATCH_ROWS, columns=[column]):
        lists = batch.column(0)
        values.append(lists.flatten().to_numpy().astype(np.int64))
        parents.append(start + np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy()))
        start += len(lists)
    return np.concatenate(values), np.concatenate(parents)


def _read_assignment(file: pq.ParquetFile, number: Indices, count: int) -> CellAssignment:
    home = np.zeros(count, np.int32)
    stored = file.read(["home"])["home"].to_numpy()
    home[number[number >= 0]] = stored[number >= 0]
    visited, visitor = _entries(file, "visited")
    visitor = number[visitor]
    order = np.argsort(visitor, kind="stable")
    order = order[visitor[order] >= 0]
    return CellAssignment(home, visitor[order].astype(np.int32), visited[order].astype(np.int32))


def _read_index(uri: str, digest: str) -> CellIndex | None:
    """None if it is gone: a concurrent run has replaced it along with the state."""
    try:
        data = storage.read_bytes(storage.join(uri, f"space-{digest}.npz"))
    except NotFoundError:
        return None
    with np.load(io.BytesIO(data)) as arrays:
        return CellIndex(Projection(arrays["directions"]), Cells.around(arrays["centroids"]))


def write_state(uri: str, keys: Iterable[pa.Array], state: PairState) -> None:
    """Replace the state at `uri`.

    Args:
        uri: its folder.
        keys: of all vectors, in batches, in the order of their numbers.
        state: of all vectors; `is_new` is not stored.
    """
    assert state.index
    directions, centroids = state.index.projection.directions, state.index.cells.centroids
    digest = hashlib.sha256(directions.tobytes() + centroids.tobytes()).hexdigest()[:16]
    data = io.BytesIO()
    np.savez(data, directions=directions, centroids=centroids)
    storage.overwrite(storage.join(uri, f"space-{digest}.npz"), data.getvalue())
    footer = {"space": digest, "trained_on": state.trained_on, "count": len(state.assignment.home)}
    write_table(storage.join(uri, "vectors.parquet"), _SCHEMA, _tables(keys, state), footer)
    for info in layout.objects(uri):
        if storage.name(info.uri).startswith("space-") and digest not in info.uri:
            storage.delete(info.uri)


def _tables(keys: Iterable[pa.Array], state: PairState) -> Iterator[pa.Table]:
    assignment, pairs = state.assignment, state.pairs
    crowded = np.zeros(len(assignment.home), bool)
    crowded[pairs.crowded] = True
    start = 0
    for batch in keys:
        block = slice(start, start + len(batch))
        yield pa.table(
            {
                "key": batch,
                "crowded": crowded[block],
                "home": assignment.home[block],
                "visited": _lists(assignment.visitor, assignment.visited, block),
                "near": _lists(pairs.second, pairs.first, block),
            }
        )
        start = block.stop


def _lists(parents: Indices | Int32s, values: Indices | Int32s, block: slice) -> pa.ListArray:
    """The values of a block of parents as lists; `parents` is sorted."""
    offsets = np.searchsorted(parents, np.arange(block.start, block.stop + 1))
    entries = pa.array(values[offsets[0] : offsets[-1]])
    return pa.ListArray.from_arrays(pa.array((offsets - offsets[0]).astype(np.int32)), entries)
