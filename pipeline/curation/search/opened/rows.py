"""The current rows of one state of a dataset, found once and kept for any number of requests.

In: a dataset. Out: columns and vectors of rows by their ids, and their groups of duplicates. Keys are on the local
disk, sorted by id, so that a request reads a small part of them, and of the dataset only what it asks for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from pipeline import storage
from pipeline.curation.current_rows import CurrentRows
from pipeline.curation.search.exact import in_order
from pipeline.curation.search.groups import DuplicateGroups, require_duplicates
from pipeline.curation.search.opened.places import PlacesById
from pipeline.curation.values.json_values import json_rows
from pipeline.curation.vectors import KEY, Vectors
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.errors import NotFoundError
from pipeline.scratch.workspace import Workspace

_KEYS = ", ".join(KEY)
#: Each row that is in a group, with the number of rows of the group that the dataset still has.
_GROUPED = f"""
WITH grouped AS MATERIALIZED (
    SELECT {_KEYS}, "group" FROM duplicates SEMI JOIN rows USING ({_KEYS}) WHERE "group" IS NOT NULL
)
SELECT {_KEYS}, "group", size FROM grouped
JOIN (SELECT "group", count(*) AS size FROM grouped GROUP BY ALL) USING ("group")
"""
_FOUND = f'SELECT {_KEYS}, "group", size FROM grouped SEMI JOIN hits USING ({_KEYS})'


class OpenRows:
    """The rows of a dataset as they are now. May be used by several threads. Raises StorageError, RunError."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset, self._work, self._turn = dataset, Workspace(), threading.RLock()
        self._current = CurrentRows(dataset, self._work)
        self._places = PlacesById(self._work)
        self._duplicates: storage.ObjectInfo | None = None

    def columns_of(self, ids: Sequence[str], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Columns of the rows with these ids, as JSON has values, by id. Raises StorageError, RunError."""
        names = ["id", *columns]
        return {row["id"]: row for table in self.read(ids, names) for row in json_rows(table.select(names))}

    def read(self, ids: Sequence[str], columns: Sequence[str]) -> Iterator[pa.Table]:
        """Columns of the rows with these ids. Raises StorageError, RunError."""
        places = pa.record_batch({"place": self._places.of(ids)})
        return self._current.read_at(columns, [places])

    def vectors_of(self, ids: Sequence[str], vector: str) -> Vectors:
        """The (N, D) vectors of the rows `ids`, in that order. Raises NoSuchRowError, StorageError, RunError."""
        return in_order(self.read(ids, ["id", vector]), ids, vector, self._dataset.uri)

    @contextmanager
    def groups(self) -> Iterator[DuplicateGroups]:
        """The groups of duplicates. Raises NoGroupsError, StorageError, RunError."""
        with self._turn:
            self._refresh_groups()
        yield DuplicateGroups(self._work, _FOUND, self._turn)

    def _refresh_groups(self) -> None:
        """Read the table of duplicates, unless it is the one that was read last."""
        try:
            found = storage.stat(layout.dedup_uri(self._dataset.uri))
        except NotFoundError:
            found = None
        if found is None or found != self._duplicates:
            self._duplicates = None
            require_duplicates(self._dataset, self._work, self._current)
            self._work.sort("grouped", _GROUPED, "id")
            self._duplicates = found
