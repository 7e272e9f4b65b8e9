"""Counts of records are those of committed shards: a chunk that was made twice counts once."""

from __future__ import annotations

from pathlib import Path

from actors.scheduler.meter import Meter
from actors.writer import Writer
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.schema import QUARANTINE
from pipeline.records import EmbeddingBatch, Shard
from pipeline.stats import Stats
from tests.fixtures.datasets import an_identity, embedded_rows, some_records


def test_records_of_a_chunk_that_was_made_twice_count_once(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path), an_identity())
    found = Stats(texts=2, texts_too_long=1, texts_unknown=1, images_truncated=1)
    batches = [
        EmbeddingBatch(embedded_rows(some_records(2, first), dataset.identity), QUARANTINE.empty_table(), found)
        for first in (0, 2)
    ]
    meter, shard = Meter("r", 4, 0, 1), Shard("1" * 32, 4, 0, "", 0, run_date="2026-11-21")
    for _ in range(2):  # all results were lost with their node
        for _ in batches:
            meter.chunk_done("embed", 2, Stats(embed_s=0.1, texts_encoded=2))
    meter.committed(shard, Writer(dataset, "run-1").write(shard, [], *batches))
    stats = meter.progress().stats
    assert (stats.embedded, stats.texts_encoded) == (4, 8)
    assert (stats.texts, stats.texts_too_long, stats.texts_unknown, stats.images_truncated) == (4, 2, 2, 2)
