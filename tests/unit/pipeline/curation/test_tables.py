"""Building blocks of curation: vectors read in blocks, and tables replaced atomically."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.curation.tables import read_facts, write_table
from pipeline.curation.vectors import vector_blocks
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import latest
from pipeline.dataset.schema import QUARANTINE
from pipeline.errors import RunError, UsageError
from tests.fixtures.datasets import an_identity, commit, embedded_rows, provenance, some_records, unit_vectors
from tests.fixtures.tables import SCHEMA, assert_tables_are_replaced


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    for shard in range(3):
        commit(dataset, shard, some_records(50, first=50 * shard))
    return dataset


def test_blocks_pair_every_row_with_its_vector_across_files(dataset: Dataset) -> None:
    blocks = list(vector_blocks(dataset.uri, columns=["text"], rows=64))
    assert [len(block.ids) for block in blocks] == [64, 64, 22]
    assert blocks[0].rows.column_names == ["id", "source_fingerprint", "text"]
    for block in blocks:
        np.testing.assert_array_equal(block.vectors, unit_vectors(block.ids, dataset.identity.dim, "image"))
    assert sorted(id_ for block in blocks for id_ in block.ids) == sorted(r.id for r in some_records(150))


def test_a_dataset_without_the_requested_vectors_is_refused(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity(has_texts=False))
    with pytest.raises(UsageError, match="no text_embedding: its records had no texts"):
        next(vector_blocks(dataset.uri, "text_embedding"))


def test_a_table_replaces_the_previous_one(tmp_path: Path) -> None:
    assert_tables_are_replaced(f"{tmp_path}/dedup/dedup.parquet")


@pytest.mark.parametrize("data", [b"", b"PAR1 damaged", b"PAR1\xff\xff\xff\x0fPAR1"])
def test_a_damaged_table_is_named_with_a_cure(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "table.parquet").write_bytes(data)
    with pytest.raises(RunError, match=r"table\.parquet cannot be read .*: delete it and make it again"):
        read_facts(str(tmp_path / "table.parquet"))


def test_an_interrupted_write_keeps_the_previous_table(tmp_path: Path) -> None:
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


def test_null_text_vectors_are_skipped_in_blocks_and_kept_in_latest_rows(tmp_path: Path) -> None:
    identity = an_identity()
    dataset = Dataset.open_or_create(str(tmp_path / "out"), identity)
    records = some_records(60)
    table, textless = embedded_rows(records, identity), np.arange(60) % 3 == 0
    for name in ("text", "text_embedding", "similarity"):
        empty = pa.nulls(60, table[name].type)
        column = pc.if_else(pa.array(textless), empty, table[name].combine_chunks())
        table = table.set_column(table.column_names.index(name), name, column)
    dataset.write_shard("0" * 32, "2026-11-21", table, QUARANTINE.empty_table(), provenance(60))
    [block] = vector_blocks(dataset.uri, "text_embedding")
    assert block.ids == [record.id for record, is_textless in zip(records, textless, strict=True) if not is_textless]
    np.testing.assert_array_equal(block.vectors, unit_vectors(block.ids, identity.dim, "text"))
    whole = pa.Table.from_batches(list(latest(dataset.uri)))
    assert whole["text_embedding"].null_count == 20
    assert whole.schema.field("text_embedding").type == identity.schema.field("text_embedding").type
