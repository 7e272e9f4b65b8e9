"""Runs queries that join and group by `id` in several passes, each over one part of the ids, so that any number fits.

In: tables of a workspace, and SQL whose joins and groups are all by `id`, alone or with further columns. Out: the
results of all passes. DuckDB's hash joins and aggregates spill to disk, but fail once they hold many times the memory,
where its sorts go on. So the rows are first divided by a hash of their id into files of a bounded number
of rows. Few rows are one pass over the tables themselves.

The order of results is not defined: sort what must have one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.scratch.quoting import quoted
from pipeline.scratch.workspace import Workspace, scratch_errors

_BUFFER_BYTES = 64 * 2**20
#: Bits of the hash that DuckDB's own hash tables do not use, so that a part fills them evenly.
_PART = "((hash(id) >> 24) % {parts})::USMALLINT AS hanclip_part"


class IdPasses:
    """Use as a context manager; what `store` stored remains, everything else is removed at the end.

    Args:
        work: holds the tables.
        rows: of the largest hash table that a query builds; decides the number of passes.
        tables: the columns that the queries need of each table, as in SELECT; `id` must be among them. Queries may use
            other tables of the workspace too, which every pass reads as a whole.
    """

    def __init__(self, work: Workspace, rows: int, tables: Mapping[str, str]) -> None:
        self._work, self._tables = work, tables
        self._parts = -(-rows // work.rows_at_once)
        self._files: dict[str, list[str]] = {}

    def __enter__(self) -> Self:
        if self._parts > 1:
            for table, columns in self._tables.items():
                self._files[table] = self._divide(table, columns)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for table in self._tables:
            for path in self._files.get(table, ()):
                Path(path).unlink(missing_ok=True)

    def store(self, name: str, sql: str) -> None:
        """Store the result of a query as the table `name`, with an `id` if later queries of these passes use it."""
        paths = [self._work.path(f"{name}-{part}.parquet") for part in range(max(self._parts, 1))]
        for path, query in zip(paths, self._queries(sql), strict=True):
            self._work.copy(query, path)
        self._work.view(name, *paths)
        if self._parts > 1:
            self._files[name] = paths

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a result that is small in every pass."""
        return [row for query in self._queries(sql) for row in self._work.rows(query)]

    def totals(self, sql: str) -> tuple[int, ...]:
        """The sums over all passes of a query for one row of numbers."""
        return tuple(int(sum(column)) for column in zip(*self.rows(sql), strict=True))

    def _queries(self, sql: str) -> Iterator[str]:
        if self._parts <= 1:
            yield sql
            return
        for part in range(self._parts):
            tables = (
                f"{table} AS NOT MATERIALIZED (SELECT * FROM read_parquet({quoted(paths[part])}))"
                for table, paths in self._files.items()
            )
            yield f"WITH {', '.join(tables)} SELECT * FROM (\n{sql}\n)"

    def _divide(self, table: str, columns: str) -> list[str]:
        """Write the rows of each part to a file of its own."""
        paths = [self._work.path(f"{table}-part-{part}.parquet") for part in range(self._parts)]
        sql = f"SELECT {columns}, {_PART.format(parts=self._parts)} FROM {table}"
        with scratch_errors(self._work.folder), ExitStack() as files:
            reader = self._work.reader(sql)
            schema = reader.schema.remove(reader.schema.get_field_index("hanclip_part"))
            writers = [
                files.enter_context(pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False))
                for path in paths
            ]
            waiting: list[pa.RecordBatch] = []
            for batch in reader:
                waiting.append(batch)
                if sum(held.nbytes for held in waiting) >= _BUFFER_BYTES:
                    _write(waiting, writers)
                    waiting = []
            _write(waiting, writers)
        return paths


def _write(batches: list[pa.RecordBatch], writers: list[pq.ParquetWriter]) -> None:
    if not batches:
        return
    rows = pa.Table.from_batches(batches)
    parts = rows["hanclip_part"].to_numpy()
    order = np.argsort(parts, kind="stable")
    rows = rows.drop_columns(["hanclip_part"]).combine_chunks()
    ends = np.searchsorted(parts[order], np.arange(len(writers) + 1))
    for writer, start, end in zip(writers, ends, ends[1:], strict=False):
        if end > start:
            writer.write_table(rows.take(pa.array(order[start:end])))
