"""Writes the results of `hanclip dedup`: a row for each row of the dataset, and on request the pairs behind the groups.

In: gathered rows and decisions. Out: `OUT/dedup/dedup.parquet` and `OUT/dedup/pairs.parquet`, each replaced whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.curation.dedup.choice.decisions import DedupDecisions
from pipeline.curation.dedup.links.distances import Distances
from pipeline.curation.dedup.links.pairs import RungPairs
from pipeline.curation.dedup.pairs.projections import block_slices
from pipeline.curation.dedup.rows import Rows
from pipeline.curation.tables import write_table
from pipeline.curation.vectors import KEY
from pipeline.dataset import layout
from pipeline.scratch.workspace import BATCH_ROWS

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source_fingerprint", pa.string(), nullable=False),
        pa.field("group", pa.string()),
        pa.field("group_size", pa.int64(), nullable=False),
        pa.field("rung", pa.string()),
        pa.field("duplicate_of", pa.string()),
        pa.field("duplicate_in", pa.string()),
        pa.field("cosine", pa.float32()),
        pa.field("bits", pa.int8()),
        pa.field("keep", pa.bool_(), nullable=False),
    ]
)
PAIRS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("other", pa.string(), nullable=False),
        pa.field("rung", pa.string(), nullable=False),
        pa.field("cosine", pa.float32()),
        pa.field("bits", pa.int8()),
    ]
)


def pairs_uri(out: str) -> str:
    """The table of pairs of the dataset at `out`."""
    return storage.join(out, layout.DEDUP, "pairs.parquet")


def write_decisions(uri: str, rows: Rows, decisions: DedupDecisions, facts: Mapping[str, Any]) -> None:
    """Write the table of duplicates. Raises StorageError."""
    write_table(uri, SCHEMA, _decided(rows, decisions), facts)


def write_pairs(uri: str, rows: Rows, ladder: Sequence[RungPairs], facts: Mapping[str, Any]) -> None:
    """Write the pairs that connect the groups. Raises StorageError."""
    write_table(uri, PAIRS, _pairs(rows, ladder), facts)


def _decided(rows: Rows, decisions: DedupDecisions) -> Iterator[pa.Table]:
    start = 0
    for batch in pq.ParquetFile(rows.work.path("rows.parquet")).iter_batches(BATCH_ROWS, columns=list(KEY)):
        own = batch.slice(0, max(0, rows.own - start))
        block = slice(start, start + own.num_rows)
        yield pa.table({**dict(zip(KEY, own.columns, strict=True)), **decisions.columns(block)})
        start += batch.num_rows


def _pairs(rows: Rows, ladder: Sequence[RungPairs]) -> Iterator[pa.Table]:
    ids = pq.read_table(rows.work.path("rows.parquet"), columns=["id"])["id"]
    rungs = [pairs.rung for pairs in ladder]
    for position, pairs in enumerate(ladder):
        first, second = pairs.linked()
        within = (first < rows.own) & (second < rows.own)
        first, second = first[within], second[within]
        order = np.lexsort((second, first))
        for block in block_slices(len(first), BATCH_ROWS):
            one, other = first[order[block]], second[order[block]]
            distances = Distances.of_pairs(rows, one, other, np.full(len(one), position, np.int8), rungs)
            yield pa.table(
                {
                    "id": ids.take(pa.array(one)),
                    "other": ids.take(pa.array(other)),
                    "rung": pa.repeat(pairs.rung, len(one)),
                    **distances.columns(slice(None)),
                }
            )
