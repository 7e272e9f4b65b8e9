"""Chunks: consecutive records of a shard, and how they are retried.

One decode call and one embed call handle one chunk. A failure costs every chunk in flight on that actor one attempt.
After two attempts a chunk is bisected until the record that kills its worker is alone; that record is quarantined as
`crashed_worker`. A chunk that failed before is *suspect*: it runs alone on its actor, so that a failure is blamed on
no other chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.records import Crashed, Shard

_WHOLE_ATTEMPTS = 2
_MAX_ATTEMPTS = 3
_MAX_FAILED_WRITES = 3


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows `start` to `stop` (exclusive) of a shard, with `attempts` failed attempts so far."""

    shard: Shard
    start: int
    stop: int
    attempts: int = 0

    @property
    def rows(self) -> int:
        """Number of records."""
        return self.stop - self.start

    @property
    def suspect(self) -> bool:
        """Whether it was in flight on an actor that failed."""
        return self.attempts > 0

    def after_failure(self) -> tuple[Chunk, ...]:
        """The chunks to try next; none if this is one record whose attempts are used up."""
        attempts = self.attempts + 1
        if attempts < _WHOLE_ATTEMPTS or (self.rows == 1 and attempts < _MAX_ATTEMPTS):
            return (Chunk(self.shard, self.start, self.stop, attempts),)
        if self.rows == 1:
            return ()
        middle = self.start + self.rows // 2
        return (
            Chunk(self.shard, self.start, middle, _WHOLE_ATTEMPTS),
            Chunk(self.shard, middle, self.stop, _WHOLE_ATTEMPTS),
        )


@dataclass(slots=True)
class OpenShard:
    """A shard in progress.

    Attributes:
        next_row: first row that is in no chunk yet.
        parts: references to embedded chunks by their first row.
        rows_settled: rows embedded, quarantined in a part, or crashed.
        failed_writes: number of failed attempts to write it.
        decoder: the worker that reads it, preferred because its reader is positioned there.
    """

    shard: Shard
    chunk_rows: int
    next_row: int = 0
    parts: dict[int, Any] = field(default_factory=dict)
    rows_settled: int = 0
    crashed: list[Crashed] = field(default_factory=list)
    failed_writes: int = 0
    decoder: Any = None

    @property
    def rows_uncut(self) -> int:
        """Rows that are in no chunk yet."""
        return self.shard.rows - self.next_row

    @property
    def complete(self) -> bool:
        """Whether every row has an outcome, so that the shard can be written."""
        return self.rows_settled == self.shard.rows

    def cut(self) -> Chunk:
        """Take the next chunk."""
        chunk = Chunk(self.shard, self.next_row, min(self.next_row + self.chunk_rows, self.shard.rows))
        self.next_row = chunk.stop
        return chunk

    def settle(self, chunk: Chunk, part: object) -> None:
        """Record an embedded chunk."""
        self.parts[chunk.start] = part
        self.rows_settled += chunk.rows

    def give_up(self, chunk: Chunk, detail: str) -> None:
        """Record a row that will be quarantined as `crashed_worker`."""
        self.crashed.append(Crashed(chunk.start, chunk.attempts + 1, detail))
        self.rows_settled += chunk.rows

    def ordered_parts(self) -> Iterator[Any]:
        """The parts in plan order."""
        return (self.parts[start] for start in sorted(self.parts))

    def ordered_crashed(self) -> list[Crashed]:
        """The crashed records in plan order."""
        return sorted(self.crashed, key=lambda one: one.row)

    def write_failed(self) -> bool:
        """Count a failed write; returns whether to retry it."""
        self.failed_writes += 1
        return self.failed_writes < _MAX_FAILED_WRITES

    def start_over(self) -> None:
        """Drop all results, because some of them are gone."""
        self.parts.clear()
        self.crashed.clear()
        self.next_row = self.rows_settled = 0
