"""Collects records into Arrow batches on their way from a scan to its sink."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipeline.errors import ContainerError
from pipeline.records import RECORDS
from pipeline.sources.contract import Sink

BATCH_ROWS = 8192


class RecordCollector:
    """Takes rows, one or many at a time; emits batches of at most 8,192 rows, `limit` rows in total."""

    def __init__(self, sink: Sink, limit: int | None) -> None:
        self._sink = sink
        self._most = sys.maxsize if limit is None else limit
        self._held: list[tuple[Any, ...]] = []
        self._flushed = 0

    @property
    def rows(self) -> int:
        """Records taken so far."""
        return self._flushed + len(self._held)

    @property
    def full(self) -> bool:
        """Whether the limit is reached and further rows are dropped."""
        return self.rows >= self._most

    def add(self, *row: Any) -> None:
        """One record, in the order of `records.RECORDS`."""
        if not self.full:
            self._held.append(row)
            if len(self._held) >= BATCH_ROWS:
                self.flush()

    def add_columns(self, *columns: Sequence[Any]) -> None:
        """Several records, column by column, in the order of `records.RECORDS`."""
        self.flush()
        rows = min(len(columns[0]), self._most - self._flushed)
        for start in range(0, rows, BATCH_ROWS):
            stop = min(start + BATCH_ROWS, rows)
            self._emit([column[start:stop] for column in columns])

    def flush(self) -> None:
        """Emit the rows still held. Call once more at the end."""
        if self._held:
            held, self._held = self._held, []
            self._emit(list(zip(*held, strict=True)))

    def _emit(self, columns: Sequence[Sequence[Any]]) -> None:
        try:
            arrays = [pa.array(column, field.type) for column, field in zip(columns, RECORDS, strict=True)]
        except UnicodeEncodeError as error:
            name = ascii(error.object)
            raise ContainerError(f"The name {name} in the source is not valid Unicode. Rename it to UTF-8.") from error
        self._flushed += len(arrays[0])
        self._sink(pa.RecordBatch.from_arrays(arrays, schema=RECORDS))
