"""Writes the files of a plan: the records of each shard, and the table of shards. `dataset.plan_files` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.footer import encode_footer
from pipeline.dataset.plan_files import SHARDS
from pipeline.plan.shards import Cut, Origin
from pipeline.records import RECORDS, Shard
from pipeline.sources import SourceSpec, is_sequential

_FILE_SHARDS = 512
_FILE_BYTES = 32 * 2**20


class RecordFiles:
    """Writes the records of shards below a run's folder, one file at a time.

    Args:
        run_uri: the run's folder; if empty, shards are counted and nothing is written.
        origin: of the shards that this plan cut.
        folder: of the files, relative to the run's.
        source: of the records; without one they can be read in any order.

    Attributes:
        shards: the added shards.
    """

    def __init__(
        self, run_uri: str, origin: Origin, folder: str = layout.RECORDS, source: SourceSpec | None = None
    ) -> None:
        self._run_uri = run_uri
        self._folder = folder
        self._origin, self._source = origin, source
        self._files = 0
        self._row_groups = 0
        self._writer: pq.ParquetWriter | None = None
        self._sink = pa.BufferOutputStream()
        self.shards: list[Shard] = []

    def add(self, cut: Cut) -> None:
        """Append one shard. A file holds records that one run listed, so adopted shards go to separate files."""
        origin = cut.origin or self._origin
        if self._row_groups and self.shards[-1].planned_by != origin.run_id:
            self.finish_file()
        uri = storage.join(self._run_uri, self._folder, f"{self._files:05d}.parquet")
        self.shards.append(
            Shard(
                shard_id=cut.shard_id,
                rows=cut.records.num_rows,
                size_bytes=cut.size_bytes,
                records_uri=uri,
                row_group=self._row_groups,
                sequential=self._sequential(cut),
                attempts=cut.attempts,
                run_date=origin.run_date,
                planned_by=origin.run_id,
            )
        )
        if self._run_uri:
            self._writer = self._writer or pq.ParquetWriter(self._sink, RECORDS, compression="zstd")
            self._writer.write_table(cut.records, row_group_size=cut.records.num_rows)
        self._row_groups += 1
        if self._row_groups == _FILE_SHARDS or self._sink.tell() >= _FILE_BYTES:
            self.finish_file()

    def _sequential(self, cut: Cut) -> bool:
        """Whether reading the records out of order is expensive."""
        containers = pc.unique(cut.records["container"]).to_pylist()
        return self._source is not None and any(is_sequential(self._source, container) for container in containers)

    def finish_file(self) -> None:
        """Upload the open file, if any."""
        if self._writer is not None:
            self._writer.close()
            storage.overwrite(self.shards[-1].records_uri, self._sink.getvalue().to_pybytes())
        self._writer, self._sink = None, pa.BufferOutputStream()
        self._files, self._row_groups = self._files + 1, 0


def write_shards(run_uri: str, shards: list[Shard], facts: Mapping[str, Any], once: bool = False) -> None:
    """Write `plan.parquet`, with `facts` in its footer. `records_uri` is stored relative to the run's folder.

    With `once` an existing plan stays, and AlreadyExistsError is raised.
    """
    rows = [asdict(replace(shard, records_uri=shard.records_uri.removeprefix(run_uri + "/"))) for shard in shards]
    schema = SHARDS.with_metadata(encode_footer(facts))
    table = pa.Table.from_pylist(rows, schema=schema)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write = storage.create if once else storage.overwrite
    write(storage.join(run_uri, layout.PLAN), sink.getvalue().to_pybytes())
