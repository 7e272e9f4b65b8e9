"""Reads stored plans: the table of shards, and the records of each shard.

_runs/<run>/records/00000.parquet   rows of records.RECORDS; each row group is one shard
_runs/<run>/plan.parquet            one row per shard; written last, so its presence means a complete plan
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.footer import decode_footer
from pipeline.errors import NotFoundError, RunError
from pipeline.records import Record, Shard

SHARDS = pa.schema(
    [
        pa.field("shard_id", pa.string(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("records_uri", pa.string(), nullable=False),
        pa.field("row_group", pa.int32(), nullable=False),
        pa.field("sequential", pa.bool_(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("run_date", pa.string(), nullable=False),
        pa.field("planned_by", pa.string(), nullable=False),
    ]
)


def read_shards(run_uri: str) -> tuple[list[Shard], dict[str, str]]:
    """The shards of a plan and the facts of its footer. Raises NotFoundError if the plan was not finished."""
    uri = storage.join(run_uri, layout.PLAN)
    table = pq.read_table(pa.BufferReader(storage.read_bytes(uri)))
    facts = decode_footer(table.schema.metadata)
    # Plans that predate the log have one date and no adopted shards.
    origin = {"run_date": facts["run_date"], "planned_by": facts["run_id"]}
    rows = [{**origin, **row, "records_uri": storage.join(run_uri, row["records_uri"])} for row in table.to_pylist()]
    return [Shard(**row) for row in rows], facts


def read_records(shard: Shard) -> list[Record]:
    """The records of one shard, in plan order. Raises StorageError, RunError."""
    try:
        with storage.open_seekable(shard.records_uri) as source:
            rows = pq.ParquetFile(source).read_row_group(shard.row_group).to_pylist()
    except pa.ArrowException as error:
        raise RunError(
            f"{shard.records_uri}, row group {shard.row_group}: {error}. Run the same command again."
        ) from error
    return [Record(**row) for row in rows]


def read_tables(shards: Iterable[Shard]) -> Iterator[tuple[Shard, pa.Table]]:
    """Shards with their records, rows of `records.RECORDS`; each file is read once, deleted ones are skipped.

    Raises:
        StorageError: a file cannot be read.
    """
    for uri, group in groupby(shards, key=lambda shard: shard.records_uri):
        with suppress(NotFoundError):
            file = pq.ParquetFile(pa.BufferReader(storage.read_bytes(uri)))
            for shard in group:
                yield shard, file.read_row_group(shard.row_group)
