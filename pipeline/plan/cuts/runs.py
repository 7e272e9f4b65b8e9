"""Splits ordered batches where the value of a column changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc


def runs(batches: Iterable[pa.RecordBatch], column: str) -> Iterator[pa.Table]:
    """Tables of consecutive rows with the same value in `column`, across batches."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        ends = pc.run_end_encode(batch[column]).run_ends.to_pylist() if batch.num_rows else []
        for start, end in zip([0, *ends], ends, strict=False):
            if waiting and waiting[-1][column][0] != batch[column][start]:
                yield pa.Table.from_batches(waiting)
                waiting = []
            waiting.append(batch.slice(start, end - start))
    if waiting:
        yield pa.Table.from_batches(waiting)
