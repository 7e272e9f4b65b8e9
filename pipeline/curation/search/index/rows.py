"""The rows behind the vectors of an index: row n of its table is vector n.

In: the numbers of vectors that a search found. Out: their keys and texts. One search reads them from the stored table.
Who searches again and again keeps an Arrow copy on the local disk, mapped into memory: nothing is decoded for a search,
and the system may take the memory back.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.curation.search.index.files import IndexFacts, map_uri
from pipeline.dataset.outcomes import RowNumbers, read_rows
from pipeline.dataset.shard_file import opened
from pipeline.scratch.mapped import mapped

_Mask = npt.NDArray[np.bool_]


class IndexRows(Protocol):
    """The rows behind an index."""

    def take(self, numbers: RowNumbers) -> pa.Table:
        """The rows with these ascending numbers. Raises StorageError, RunError."""


class StoredRows:
    """Reads them from the table of the index.

    Args:
        out: the dataset.
        facts: the index.
    """

    def __init__(self, out: str, facts: IndexFacts) -> None:
        self._uri = map_uri(out, facts)

    def take(self, numbers: RowNumbers) -> pa.Table:
        """See `IndexRows`."""
        return read_rows(self._uri, numbers)


class MappedRows:
    """Copies them to the local disk. Raises StorageError, RunError.

    Args:
        out: the dataset.
        facts: the index.
    """

    def __init__(self, out: str, facts: IndexFacts) -> None:
        with opened(map_uri(out, facts)) as stored:
            self._schema = stored.schema_arrow.remove_metadata()
            self._batches = mapped(self._schema, stored.iter_batches())
        sizes = [batch.num_rows for batch in self._batches]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def take(self, numbers: RowNumbers) -> pa.Table:
        """See `IndexRows`."""
        found: list[Any] = []
        places = np.searchsorted(self._starts, numbers, side="right") - 1
        for place in np.unique(places):
            own = numbers[places == place] - self._starts[place]
            found.append(self._batches[place].take(pa.array(own)))
        return pa.Table.from_batches(found, self._schema)

    def with_ids(self, ids: pa.Array) -> _Mask:
        """(N,) which rows have one of these ids."""
        return np.concatenate(
            [[], *(pc.is_in(batch["id"], ids).to_numpy(zero_copy_only=False) for batch in self._batches)]
        ).astype(bool)
