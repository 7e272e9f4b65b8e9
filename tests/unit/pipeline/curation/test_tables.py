"""What every measure stands on: vectors in blocks, and tables that are replaced whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.curation.tables import write_table
from pipeline.curation.vectors import vector_blocks
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import latest
from pipeline.dataset.schema import QUARANTINE
from pipeline.errors import UsageError
from tests.fixtures.datasets import an_identity, commit, embedded_rows, provenance, some_records, unit_vectors
from tests.fixtures.tables import SCHEMA, assert_tables_are_replaced


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    for shard in range(3):
        commit(dataset, shard, some_records(50, first=50 * shard))
    return dataset


def test_blocks_hold_every_row_beside_its_vector_whatever_the_files(dataset: Dataset) -> None:
    blocks = list(vector_blocks(dataset.uri, columns=["text"], rows=64))
    assert [len(block.ids) for block in blocks] == [64, 64, 22]
    assert blocks[0].rows.column_names == ["id", "source_fingerprint", "text"]
    for block in blocks:
        np.testing.assert_array_equal(block.vectors, unit_vectors(block.ids, dataset.identity.dim, "image"))
    assert sorted(id_ for block in blocks for id_ in block.ids) == sorted(r.id for r in some_records(150))


def test_a_dataset_without_the_vectors_is_refused(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity(has_texts=False))
    with pytest.raises(UsageError, match="no text_embedding: its source had no texts"):
        next(vector_blocks(dataset.uri, "text_embedding"))


def test_a_table_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    assert_tables_are_replaced(f"{tmp_path}/dedup/dedup.parquet")


def test_a_table_that_is_not_finished_changes_nothing(tmp_path: Path) -> None:
    uri = str(tmp_path / "table.parquet")
    row = pa.table({"id": ["a"], "source_fingerprint": ["x"]})
    write_table(uri, SCHEMA, [row], {})

    def broken() -> object:
        yield row
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_table(uri, SCHEMA, broken(), {})  # type: ignore[arg-type]
    assert pq.read_table(uri).num_rows == 1
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]


def test_vectors_of_records_without_a_text_are_read_and_copied(tmp_path: Path) -> None:
    identity = an_identity()
    dataset = Dataset.open_or_create(str(tmp_path / "out"), identity)
    records = some_records(60)
    table, silent = embedded_rows(records, identity), np.arange(60) % 3 == 0
    for name in ("text", "text_embedding", "similarity"):
        empty = pa.nulls(60, table[name].type)
        column = pc.if_else(pa.array(silent), empty, table[name].combine_chunks())
        table = table.set_column(table.column_names.index(name), name, column)
    dataset.write_shard("0" * 32, "2026-11-21", table, QUARANTINE.empty_table(), provenance(60))
    [block] = vector_blocks(dataset.uri, "text_embedding")
    assert block.ids == [record.id for record, mute in zip(records, silent, strict=True) if not mute]
    np.testing.assert_array_equal(block.vectors, unit_vectors(block.ids, identity.dim, "text"))
    whole = pa.Table.from_batches(list(latest(dataset.uri)))
    assert whole["text_embedding"].null_count == 20
    assert whole.schema.field("text_embedding").type == identity.schema.field("text_embedding").type
