"""A target that does not exist: a local database that a dry run must not create."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from pipeline.curation.sync.contract import HELD, SyncColumns
from pipeline.errors import InternalError


class AbsentTarget:
    """A `SyncTarget` that holds nothing and takes nothing."""

    def mark(self) -> None:
        """None."""

    def move_mark(self, text: str) -> None:
        """Raise."""
        raise _written()

    def prepare(self, columns: SyncColumns) -> None:
        """Raise."""
        raise _written()

    def count(self) -> int:
        """0."""
        return 0

    def held(self) -> Iterator[pa.Table]:
        """Nothing."""
        return iter(())

    def held_of(self, ids: Sequence[str]) -> pa.Table:
        """Nothing."""
        return HELD.empty_table()

    def put(self, rows: pa.Table, new: bool) -> None:
        """Raise."""
        raise _written()

    def remove(self, ids: Sequence[str]) -> None:
        """Raise."""
        raise _written()

    def finish(self) -> None:
        """Raise."""
        raise _written()

    def close(self) -> None:
        """Nothing is open."""


def _written() -> InternalError:
    return InternalError("A dry run tried to write: report this.")
