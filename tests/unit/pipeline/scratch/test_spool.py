"""The spool flushes by size, so that wide rows do not accumulate in memory."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.scratch.spool import spool
from pipeline.scratch.workspace import Workspace


def test_wide_rows_do_not_accumulate_in_memory() -> None:
    vectors = pa.array([[0.0] * 4096] * 1024, pa.list_(pa.float32(), 4096))  # 16 MiB
    schema = pa.schema([("vector", vectors.type), ("row", pa.int64())])
    counted: list[int] = []
    with Workspace() as work:
        rows = spool(work, "wide", schema, [pa.table({"vector": vectors})] * 9, on_rows=counted.append)
        metadata = pq.ParquetFile(work.path("wide.parquet")).metadata
        assert counted == [1024] * 9
        assert (rows, metadata.num_rows, metadata.num_row_groups) == (9216, 9216, 3)
        assert work.rows("SELECT min(row), max(row), count(DISTINCT row) FROM wide") == [(0, 9215, 9216)]
