"""Actor that commits shards: all batches of a shard in, one Parquet file out.

It keeps no state between calls: if it dies, the same batches go to another writer.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from pipeline.dataset.dataset import Dataset
from pipeline.dataset.footer import decode_footer, joined_makers
from pipeline.dataset.plan_files import read_records
from pipeline.dataset.schema import QUARANTINE, quarantine_row
from pipeline.dataset.shard_file import ShardProvenance
from pipeline.errors import CommittedError
from pipeline.records import CommittedShard, Crashed, EmbeddingBatch, Failure, Record, Shard
from pipeline.stats import Stats
from pipeline.vocabulary import Reason, Stage


class Writer:
    """Commits shards.

    Args:
        dataset: the output.
        run_id: names this run.
    """

    def __init__(self, dataset: Dataset, run_id: str) -> None:
        self._dataset = dataset
        self._run_id = run_id

    def setup(self) -> None:
        """Nothing to open; the scheduler calls it on every actor."""

    def write(self, shard: Shard, crashed: Sequence[Crashed], *batches: EmbeddingBatch) -> CommittedShard:
        """Write and commit `shard` from its batches in plan order and its crashed records."""
        began = time.perf_counter()
        table = self._concatenate(batches)
        quarantine = pa.concat_tables([*(batch.quarantine for batch in batches), self._crashed_rows(shard, crashed)])
        metadata = decode_footer(table.schema.metadata)  # empty if no record of the shard reached an embedder
        provenance = ShardProvenance(
            run_id=self._run_id,
            rows_planned=shard.rows,
            logit_scale=float(metadata.get("logit_scale", "nan")),
            compute_dtype=metadata.get("compute_dtype", "none"),
            planned_by=shard.planned_by,
            makers=joined_makers(decode_footer(batch.table.schema.metadata) for batch in batches),
        )
        n_bytes = 0
        try:
            n_bytes = self._dataset.write_shard(shard.shard_id, shard.run_date, table, quarantine, provenance)
        except CommittedError as first:
            # A writer of this run may have died between its commit and its reply; then the rows are this run's.
            if first.run_id != self._run_id:
                return CommittedShard(Stats(write_s=time.perf_counter() - began), elsewhere=True)
        stats = replace(
            sum((batch.counts for batch in batches), Stats()),
            embedded=table.num_rows,
            quarantined=Counter(quarantine["reason"].to_pylist()),
            bytes_written=n_bytes,
            write_s=time.perf_counter() - began,
        )
        return CommittedShard(stats, elsewhere=False)

    def _concatenate(self, batches: Sequence[EmbeddingBatch]) -> pa.Table:
        tables = [batch.table for batch in batches]
        if not tables:
            return self._dataset.identity.schema.empty_table()
        merged = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
        return merged.replace_schema_metadata(tables[0].schema.metadata)

    def _crashed_rows(self, shard: Shard, crashed: Sequence[Crashed]) -> pa.Table:
        if not crashed:
            return QUARANTINE.empty_table()
        records = read_records(shard)
        failed = [_crashed_row(records[one.row], one, shard.attempts) for one in crashed]
        return pa.Table.from_pylist(failed, schema=QUARANTINE)


def _crashed_row(record: Record, crashed: Crashed, earlier_attempts: int) -> dict[str, Any]:
    failure = Failure(Stage.DECODE, Reason.CRASHED_WORKER, crashed.detail)
    attempts = earlier_attempts + crashed.attempts
    return quarantine_row(record.id, record.image_uri, record.source_fingerprint, failure, attempts)
