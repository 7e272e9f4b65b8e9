"""Collects records into Arrow batches on their way from a scan to its sink."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pipeline.schema import RECORDS
from pipeline.sources.base import Sink

BATCH_ROWS = 8192


class RecordCollector:
    """Rows go in one by one or as columns; batches of at most 8,192 rows go out, `limit` rows in all."""

    def __init__(self, sink: Sink, limit: int | None) -> None:
        self._sink, self._limit = sink, limit
        self._columns: list[list[Any]] = [[] for _ in RECORDS]
        self._flushed = 0

    @property
    def rows(self) -> int:
        """Records taken so far."""
        return self._flushed + len(self._columns[0])

    @property
    def full(self) -> bool:
        """Whether the limit is reached: further rows are dropped."""
        return self._limit is not None and self.rows >= self._limit

    def add(self, *row: Any) -> None:
        """One record, in the order of `schema.RECORDS`."""
        if self.full:
            return
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)
        if len(self._columns[0]) >= BATCH_ROWS:
            self.flush()

    def add_columns(self, *columns: list[Any]) -> None:
        """Several records, column by column, in the order of `schema.RECORDS`."""
        room = len(columns[0]) if self._limit is None else max(0, self._limit - self.rows)
        for held, column in zip(self._columns, columns, strict=True):
            held.extend(column[:room])
        if len(self._columns[0]) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Hand on what is held. Call once more at the end."""
        if not self._columns[0]:
            return
        arrays = [pa.array(column, field.type) for column, field in zip(self._columns, RECORDS, strict=True)]
        batch = pa.RecordBatch.from_arrays(arrays, schema=RECORDS)
        self._flushed += batch.num_rows
        self._columns = [[] for _ in RECORDS]
        for start in range(0, batch.num_rows, BATCH_ROWS):
            self._sink(batch.slice(start, BATCH_ROWS))
