"""Counts the requests to a target. It stands between the sync and any target, and changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa

from pipeline.curation.sync.contract import SyncColumns, SyncTarget


class CountedTarget:
    """A `SyncTarget`.

    Attributes:
        requests: how many calls there were, by name; of `held`, one per table.
    """

    def __init__(self, target: SyncTarget) -> None:
        self._target = target
        self.requests: Counter[str] = Counter()

    def mark(self) -> str | None:
        """As the target."""
        self.requests["mark"] += 1
        return self._target.mark()

    def move_mark(self, text: str) -> None:
        """As the target."""
        self.requests["move_mark"] += 1
        self._target.move_mark(text)

    def prepare(self, columns: SyncColumns) -> None:
        """As the target."""
        self.requests["prepare"] += 1
        self._target.prepare(columns)

    def count(self) -> int:
        """As the target."""
        self.requests["count"] += 1
        return self._target.count()

    def held(self) -> Iterator[pa.Table]:
        """As the target."""
        for table in self._target.held():
            self.requests["held"] += 1
            yield table

    def held_of(self, ids: Sequence[str]) -> pa.Table:
        """As the target."""
        self.requests["held_of"] += 1
        return self._target.held_of(ids)

    def put(self, rows: pa.Table, new: bool) -> None:
        """As the target."""
        self.requests["put"] += 1
        self._target.put(rows, new)

    def remove(self, ids: Sequence[str]) -> None:
        """As the target."""
        self.requests["remove"] += 1
        self._target.remove(ids)

    def finish(self) -> None:
        """As the target."""
        self.requests["finish"] += 1
        self._target.finish()

    def close(self) -> None:
        """As the target."""
        self._target.close()
