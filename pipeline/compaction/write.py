"""Writes the new files of a compaction. A file that is there already was written by an earlier or a parallel call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby

import numpy as np
import pyarrow as pa

from pipeline import storage
from pipeline.compaction.pieces import CompactionPlan, NewShard, Piece
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.footer import decode_footer, joined_makers, joined_values
from pipeline.dataset.outcomes import read_rows
from pipeline.dataset.schema import QUARANTINE
from pipeline.dataset.shard_file import ShardProvenance
from pipeline.errors import AlreadyExistsError, RunError

_SHARDS_AT_ONCE = 2


class OutdatedPlanError(RunError):
    """A file that the plan names is gone or another one."""


def write_shards(dataset: Dataset, plan: CompactionPlan, on_rows: Callable[[int], None]) -> int:
    """Write the shards that are not there yet; returns the bytes written.

    Raises:
        OutdatedPlanError: an old file is not the planned one any more.
        StorageError, RunError: reading or writing failed; the same call resumes.
    """
    there = {file.shard_id for file in layout.data_files(dataset.uri, layout.EMBEDDINGS)}
    left = [shard for shard in plan.shards if shard.shard_id not in there]
    on_rows(plan.rows - sum(shard.rows for shard in left))
    written = 0
    with ThreadPoolExecutor(_SHARDS_AT_ONCE) as threads:
        for shard, n_bytes in zip(left, threads.map(partial(_write, dataset), left), strict=True):
            written += n_bytes
            on_rows(shard.rows)
    return written


def _write(dataset: Dataset, shard: NewShard) -> int:
    footers: list[dict[str, str]] = []
    failed = [QUARANTINE.empty_table()]
    embedded = [dataset.identity.schema.empty_table()]
    for table in _tables(dataset.uri, (piece for piece in shard.pieces if not piece.quarantined)):
        footers.append(decode_footer(table.schema.metadata))
        embedded.append(table.replace_schema_metadata(None))
    failed += _tables(dataset.uri, (piece for piece in shard.pieces if piece.quarantined))
    provenance = ShardProvenance(
        run_id=max(piece.run_id for piece in shard.pieces),
        rows_planned=shard.rows,
        # A shard without an embedded row may have none.
        logit_scale=next((float(footer["logit_scale"]) for footer in reversed(footers)), float("nan")),
        compute_dtype=joined_values(footer["compute_dtype"] for footer in footers),
        planned_by=max(piece.planned_by for piece in shard.pieces),
        makers=joined_makers(footers),
        segments=shard.segments(quarantined=False),
        quarantine_segments=shard.segments(quarantined=True),
    )
    rows = pa.concat_tables(embedded)
    try:
        return dataset.write_shard(shard.shard_id, shard.run_date, rows, pa.concat_tables(failed), provenance)
    except AlreadyExistsError:
        return 0


def _tables(out: str, pieces: Iterable[Piece]) -> Iterator[pa.Table]:
    """The rows of the pieces, in order; neighbours of one file are read at once."""
    for uri, some in groupby(pieces, lambda piece: piece.uri(out)):
        ranges = list(some)
        rows = np.concatenate([np.arange(piece.first, piece.first + piece.rows) for piece in ranges])
        if len(ranges) > 1 and (np.diff(rows) <= 0).any():
            raise OutdatedPlanError(f"The plan of {uri} is damaged.")
        try:
            table = read_rows(uri, rows)
        except RunError:
            if storage.exists(uri):
                raise
            raise OutdatedPlanError(f"{uri} is gone.") from None
        attempt = decode_footer(table.schema.metadata).get("attempt", ranges[0].attempt)
        if table.num_rows != len(rows) or attempt != ranges[0].attempt:
            raise OutdatedPlanError(f"{uri} is not the file that was planned.")
        yield table if not ranges[0].quarantined else table.replace_schema_metadata(None)
