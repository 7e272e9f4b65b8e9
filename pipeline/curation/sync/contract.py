"""The contract of a target: a function `connect(dest: str, collection: str) -> SyncTarget`.

A target is one collection of a database, with one row per id, and a watermark beside it. Each call is one request, or
as many as the database needs, and may be repeated: what was written once is written again with the same result.
Errors of clients become `RunError`, or `UsageError` if the user can mend them, at one border in each target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

#: What a target holds of a row: its id, and the version of its content.
HELD = pa.schema([pa.field("id", pa.string()), pa.field("source_fingerprint", pa.string())])


@dataclass(frozen=True, slots=True)
class SyncColumns:
    """The columns of a collection.

    Attributes:
        scalars: all but the vectors; `id` and `source_fingerprint` are first.
        vectors: names of the vector columns.
        dim: length of a vector.
        optional: of the vectors, those that a row of the dataset may lack; then it is not sent.
    """

    scalars: pa.Schema
    vectors: tuple[str, ...]
    dim: int
    optional: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """All names."""
        return [*self.scalars.names, *self.vectors]


class SyncTarget(Protocol):
    """One collection of a database. Rows are tables with the columns of `SyncColumns`."""

    def mark(self) -> str | None:
        """The watermark of the collection; None if it has none."""

    def move_mark(self, text: str) -> None:
        """Replace the watermark."""

    def prepare(self, columns: SyncColumns) -> None:
        """Create the collection if it does not exist. Raises UsageError if it has other vectors."""

    def count(self) -> int:
        """Rows of the collection; 0 if it does not exist."""

    def held(self) -> Iterator[pa.Table]:
        """Every row that the collection holds, as tables of `HELD`; none if it does not exist."""

    def held_of(self, ids: Sequence[str]) -> pa.Table:
        """The same of these ids only."""

    def put(self, rows: pa.Table, new: bool) -> None:
        """Insert rows, or replace those of the same ids; with `new` the collection has none of the ids."""

    def remove(self, ids: Sequence[str]) -> None:
        """Delete the rows of these ids, if they are there."""

    def finish(self) -> None:
        """Called after the last change of many."""

    def close(self) -> None:
        """Release the connection."""


Connect = Callable[[str, str], SyncTarget]


def held_table(ids: Sequence[str], versions: Sequence[str]) -> pa.Table:
    """A table of `HELD`."""
    return pa.table([pa.array(ids, pa.string()), pa.array(versions, pa.string())], schema=HELD)
