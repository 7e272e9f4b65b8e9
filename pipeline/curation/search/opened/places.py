"""Finds the places of rows by their ids.

In: the current rows of a dataset, once, and then ids. Out: their places, see `CurrentRows`. The rows are sorted by id
on the local disk, so that an id is in one small batch, which is known by its first id. A query with DuckDB would read
the metadata of all batches each time, and one thread at a time could ask.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.scratch.mapped import mapped
from pipeline.scratch.workspace import Workspace

_SCHEMA = pa.schema([pa.field("id", pa.string()), pa.field("place", pa.int64())])
_BATCH_ROWS = 4096


class PlacesById:
    """The places of the rows in the table `rows` of a workspace. May be used by several threads. Raises RunError."""

    def __init__(self, work: Workspace) -> None:
        self._batches = mapped(_SCHEMA, _sorted(work))
        self._firsts = [batch["id"][0].as_py() for batch in self._batches]

    def of(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """The places of the rows with these ids, ascending, without those of ids that are not there."""
        wanted: dict[int, list[str]] = defaultdict(list)
        for id_ in set(ids):
            wanted[bisect_right(self._firsts, id_) - 1].append(id_)
        wanted.pop(-1, None)  # before the first row
        found = [self._among(self._batches[number], some) for number, some in wanted.items()]
        return np.sort(np.concatenate([np.empty(0, np.int64), *found]))

    @staticmethod
    def _among(batch: pa.RecordBatch, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        chosen = pc.is_in(batch["id"], pa.array(ids, pa.string()))
        places: npt.NDArray[np.int64] = batch["place"].filter(chosen).to_numpy()
        return places


def _sorted(work: Workspace) -> Iterator[pa.RecordBatch]:
    for batch in work.batches("SELECT id, place FROM rows ORDER BY id"):
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            yield batch.slice(start, _BATCH_ROWS).cast(_SCHEMA)
