"""Rows gathered in a local Parquet file in large row groups, which queries can read once it is closed."""

from __future__ import annotations

from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.scratch.workspace import BATCH_ROWS, Workspace


class Spool:
    """Use as a context manager around the gathering; the table `name` exists afterwards."""

    def __init__(self, work: Workspace, name: str, schema: pa.Schema) -> None:
        self._work, self._name, self._schema = work, name, schema
        self._path = work.path(f"{name}.parquet")
        self._writer = pq.ParquetWriter(self._path, schema, compression="zstd")
        self._waiting: list[pa.Table] = []
        self.rows = 0

    def add(self, rows: pa.Table, **constants: int) -> None:
        """Take some rows, with columns of one value each, and `row`, which counts all rows of the spool."""
        n = rows.num_rows
        columns = {
            **dict(zip(rows.column_names, rows.columns, strict=True)),
            **{name: pa.repeat(pa.scalar(value), n) for name, value in constants.items()},
            "row": pa.array(range(self.rows, self.rows + n)),
        }
        self._waiting.append(pa.table(columns).select(self._schema.names).cast(self._schema))
        self.rows += n
        if sum(waiting.num_rows for waiting in self._waiting) >= BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
            self._waiting = []

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._flush()
        self._writer.close()
        self._work.view(self._name, self._path)
