"""Images without a text have a null text vector, both in reads and in snapshots."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import latest
from pipeline.dataset.schema import QUARANTINE
from pipeline.errors import RunError
from pipeline.snapshot.compact import compact
from tests.fixtures.datasets import DIM, an_identity, embedded_rows, provenance, some_records


def mixed(folder: Path, dtype: str) -> tuple[Dataset, pa.Table]:
    """Every fourth row has no text."""
    dataset = Dataset.open_or_create(str(folder), an_identity(embedding_dtype=dtype))
    table = embedded_rows(some_records(40), an_identity())
    textless = pa.array([number % 4 == 0 for number in range(40)])
    for name in ("text", "similarity"):
        kept = pc.if_else(textless, None, table[name].combine_chunks())
        table = table.set_column(table.column_names.index(name), name, kept)
    vectors = pa.FixedSizeListArray.from_arrays(table["text_embedding"].combine_chunks().values, DIM, mask=textless)
    return dataset, table.set_column(table.column_names.index("text_embedding"), "text_embedding", vectors)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_without_a_text_are_read_and_copied(tmp_path, dtype):
    dataset, table = mixed(tmp_path / "out", dtype)
    dataset.write_shard("0" * 32, "2026-11-21", table, QUARANTINE.empty_table(), provenance(40))
    compact(dataset.uri, str(tmp_path / "snapshot"))
    expected = [vector and [float(x) for x in vector] for vector in table["text_embedding"].to_pylist()]
    for uri in (dataset.uri, str(tmp_path / "snapshot")):
        rows = latest(uri, ["id", "text_embedding"]).read_all().sort_by("id")
        assert rows["text_embedding"].null_count == 10
        for found, vector in zip(rows["text_embedding"].to_pylist(), expected, strict=True):
            assert found == (vector and pytest.approx(vector, abs=1e-3 if dtype == "float16" else 0))


def test_a_missing_image_vector_is_refused(tmp_path):
    dataset, table = mixed(tmp_path / "out", "float32")
    at = table.column_names.index("image_embedding")
    broken = table.set_column(at, "image_embedding", table["text_embedding"])
    with pytest.raises(RunError, match="image_embedding has 10 nulls and must have none"):
        dataset.write_shard("0" * 32, "2026-11-21", broken, QUARANTINE.empty_table(), provenance(40))
