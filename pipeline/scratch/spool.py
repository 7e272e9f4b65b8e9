"""Spools rows to a local Parquet file in large row groups, which queries read as a table once it is closed."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.phases import OnRows
from pipeline.scratch.workspace import BATCH_ROWS, Workspace, scratch_errors

#: Rows with vectors are written earlier than by their number.
_BATCH_BYTES = 64 * 2**20


class Spool:
    """Use as a context manager around the gathering; the workspace has the table `name` afterwards.

    Args:
        work: holds the file.
        name: of the table.
        schema: its columns.
        number: the column that counts the rows from 0, if the schema has it.

    Attributes:
        name: of the table.
        rows: how many rows were added.
    """

    def __init__(self, work: Workspace, name: str, schema: pa.Schema, number: str = "row") -> None:
        self.name = name
        self._work, self._schema, self._number = work, schema, number
        self._path = work.path(f"{name}.parquet")
        self._begin()

    def _begin(self) -> None:
        self.rows = 0
        with scratch_errors(self._work.folder):
            self._writer = pq.ParquetWriter(self._path, self._schema, compression="zstd")
        self._waiting: list[pa.Table] = []
        self._waiting_rows = self._waiting_bytes = 0

    def clear(self) -> None:
        """Drop all rows that were added."""
        with scratch_errors(self._work.folder):
            self._writer.close()
        self._begin()

    def add(self, rows: pa.Table | pa.RecordBatch, **constants: int) -> None:
        """Add rows. `constants` are further columns, each of one value; columns that the schema lacks are dropped."""
        n = rows.num_rows
        columns = dict(zip(rows.schema.names, rows.columns, strict=True))
        columns |= {name: pa.repeat(pa.scalar(value), n) for name, value in constants.items()}
        if self._number in self._schema.names:
            columns[self._number] = pa.array(np.arange(self.rows, self.rows + n, dtype=np.int64))
        table = pa.table({name: columns[name] for name in self._schema.names}).cast(self._schema)
        self._waiting.append(table)
        self.rows += n
        self._waiting_rows += n
        self._waiting_bytes += table.nbytes
        if self._waiting_rows >= BATCH_ROWS or self._waiting_bytes >= _BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            with scratch_errors(self._work.folder):
                self._writer.write_table(pa.concat_tables(self._waiting))
            self._waiting = []
            self._waiting_rows = self._waiting_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            with suppress(OSError):  # as the one that is on its way
                self._writer.close()
            return
        self._flush()
        with scratch_errors(self._work.folder):
            self._writer.close()
        self._work.view(self.name, self._path)


def spool(
    work: Workspace,
    name: str,
    schema: pa.Schema,
    batches: Iterable[pa.Table | pa.RecordBatch],
    number: str = "row",
    on_rows: OnRows = lambda _: None,
) -> int:
    """Make the table `name` of `batches`, as `Spool` does; returns its number of rows. `on_rows` counts them."""
    with Spool(work, name, schema, number) as spooled:
        for batch in batches:
            spooled.add(batch)
            on_rows(batch.num_rows)
    return spooled.rows
