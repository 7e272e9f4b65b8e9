"""Batches as they travel between actors."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest

from pipeline.dataset.schema import QUARANTINE
from pipeline.records import EmbeddingBatch, ImageBatch
from pipeline.stats import Stats

_NO_ROWS = QUARANTINE.empty_table()


def a_table(rows: int) -> pa.Table:
    """Ids, and vectors of which every second is null."""
    vector = pa.list_(pa.field("item", pa.float32(), nullable=False), 4)
    values = pa.array(np.arange(4 * rows, dtype=np.float32))
    vectors = pa.FixedSizeListArray.from_arrays(values, type=vector, mask=pa.array([i % 2 == 1 for i in range(rows)]))
    return pa.table({"id": [f"item-{i}" for i in range(rows)], "vector": vectors}).replace_schema_metadata({"a": "b"})


@pytest.mark.parametrize("pixels", [None, np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)])
def test_a_batch_travels_as_few_buffers_and_without_the_rest_of_its_table(pixels: np.ndarray | None) -> None:
    rows = a_table(10_000).slice(5000, 3)
    counts = Stats(texts=3)
    for batch in (ImageBatch(rows, pixels, _NO_ROWS, 3), EmbeddingBatch(rows, _NO_ROWS, counts)):
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(batch, protocol=5, buffer_callback=buffers.append)
        assert len(buffers) <= 3
        assert len(head) + sum(len(buffer.raw()) for buffer in buffers) < 4000
        arrived = pickle.loads(head, buffers=buffers)
        table = arrived.rows if isinstance(batch, ImageBatch) else arrived.table
        assert table.equals(rows, check_metadata=True)
        assert arrived.quarantine.equals(_NO_ROWS)
        if isinstance(batch, ImageBatch):
            assert arrived.truncated == 3
            assert np.array_equal(arrived.pixels, pixels) if pixels is not None else arrived.pixels is None
        else:
            assert arrived.counts == counts
