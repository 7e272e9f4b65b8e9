"""Test that common Parquet tools open the dataset directly, with the right types and values."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from pipeline.dataset.dataset import Dataset
from tests.fixtures.datasets import an_identity, embedded_rows, provenance, quarantined_rows, some_records, unit_vectors

DIM = 64
RECORDS = some_records(400)
DAYS = ("2026-11-20", "2026-11-21")


def make(folder: Path, dtype: str) -> Dataset:
    """Two shards on two days, and a quarantine that readers of the embeddings must not see."""
    extra = pa.schema([pa.field("category", pa.string())])
    dataset = Dataset.open_or_create(str(folder), an_identity(dim=DIM, extra=extra, embedding_dtype=dtype))
    for number, (day, records) in enumerate(zip(DAYS, (RECORDS[:200], RECORDS[200:]), strict=True)):
        dataset.write_shard(
            f"{number:032x}",
            day,
            embedded_rows(records[:-1], dataset.identity),
            quarantined_rows(records[-1:]),
            provenance(len(records)),
        )
    return dataset


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make(tmp_path_factory.mktemp("float32"), "float32").uri


@pytest.fixture(scope="module")
def out16(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make(tmp_path_factory.mktemp("float16"), "float16").uri


def expected() -> pa.Table:
    embedded = [record for record in RECORDS if record not in (RECORDS[199], RECORDS[399])]
    return embedded_rows(embedded, an_identity(dim=DIM, extra=pa.schema([("category", pa.string())])))


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    return column.combine_chunks().flatten().to_numpy().reshape(-1, DIM)


VECTORS = matrix(expected()["image_embedding"])
IDS = expected()["id"].to_pylist()


def test_pyarrow(out: str) -> None:
    table = pads.dataset(f"{out}/embeddings", partitioning="hive").to_table().sort_by("id")
    assert table.drop(["run_date"]).cast(expected().schema).equals(expected())
    assert table.schema.field("image_embedding").type == pa.list_(pa.field("e", pa.float32(), nullable=False), DIM)
    assert set(table["run_date"].to_pylist()) == set(DAYS)


def test_pyarrow_float16(out16: str) -> None:
    table = pads.dataset(f"{out16}/embeddings").to_table().sort_by("id")
    assert table.schema.field("text_embedding").type.value_type == pa.float16()
    assert np.array_equal(matrix(table["image_embedding"]), VECTORS.astype(np.float16))


def test_duckdb(out: str) -> None:
    import duckdb

    table = duckdb.sql(f"SELECT * FROM read_parquet('{out}/embeddings/**/*.parquet') ORDER BY id")
    assert (
        dict(zip(table.columns, map(str, table.types), strict=True)).items()
        >= {
            "id": "VARCHAR",
            "image_uri": "VARCHAR",
            "image_sha256": "VARCHAR",
            "image_phash": "UBIGINT",
            "image_pixels_xxh128": "VARCHAR",
            "image_width": "INTEGER",
            "image_height": "INTEGER",
            "image_blank_rows": "FLOAT",
            "image_bytes": "BIGINT",
            "text": "VARCHAR",
            "image_embedding": "FLOAT[]",
            "text_embedding": "FLOAT[]",
            "similarity": "FLOAT",
            "source_fingerprint": "VARCHAR",
            "category": "VARCHAR",
            "run_date": "DATE",
        }.items()
    )
    per_day = table.aggregate("run_date, count(*)", "run_date").order("run_date").fetchall()
    assert per_day == [(date(2026, 11, 20), 199), (date(2026, 11, 21), 199)]
    nearest = duckdb.sql(
        f"""SELECT id, array_cosine_similarity(image_embedding::FLOAT[{DIM}], $query::FLOAT[{DIM}]) AS score
        FROM read_parquet('{out}/embeddings/**/*.parquet') ORDER BY score DESC LIMIT 1""",
        params={"query": VECTORS[42].tolist()},
    ).fetchall()
    assert nearest[0][0] == IDS[42]
    assert nearest[0][1] == pytest.approx(1, abs=1e-5)


def test_duckdb_float16(out16: str) -> None:
    import duckdb

    [(first,)] = duckdb.sql(
        f"SELECT image_embedding FROM read_parquet('{out16}/embeddings/**/*.parquet') ORDER BY id LIMIT 1"
    ).fetchall()
    assert np.array_equal(np.asarray(first, np.float16), VECTORS[0].astype(np.float16))


def test_polars(out: str) -> None:
    import polars as pl

    frame = pl.read_parquet(f"{out}/embeddings/**/*.parquet", hive_partitioning=True).sort("id")
    assert frame.schema["image_embedding"] == pl.Array(pl.Float32, DIM)
    assert frame.schema["image_phash"] == pl.UInt64
    assert frame.schema["run_date"] == pl.Date
    assert frame["id"].to_list() == IDS
    assert np.array_equal(frame["image_embedding"].to_numpy(), VECTORS)


def test_polars_float16(out16: str) -> None:
    import polars as pl

    frame = pl.read_parquet(f"{out16}/embeddings/**/*.parquet").sort("id")
    assert np.array_equal(frame["image_embedding"].to_numpy().astype(np.float16), VECTORS.astype(np.float16))


def test_pandas(out: str) -> None:
    import pandas as pd

    frame = pd.read_parquet(f"{out}/embeddings").sort_values("id")
    assert frame["id"].tolist() == IDS
    assert frame["similarity"].dtype == np.float32
    assert np.array_equal(np.stack(frame["image_embedding"]), VECTORS)
    assert sorted(frame["run_date"].astype(str).unique()) == list(DAYS)


def test_pandas_reads_the_quarantine(out: str) -> None:
    import pandas as pd

    frame = pd.read_parquet(f"{out}/_quarantine")
    assert frame["reason"].tolist() == ["timeout", "timeout"]
    assert sorted(frame["id"]) == [RECORDS[199].id, RECORDS[399].id]


def test_hugging_face_datasets(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    files = sorted(map(str, Path(out, "embeddings").rglob("*.parquet")))
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert loaded.features["image_embedding"] == datasets.List(datasets.Value("float32"), length=DIM)
    assert loaded.features["image_phash"] == datasets.Value("uint64")
    loaded = loaded.with_format("numpy").sort("id")
    assert loaded["id"][:].tolist() == IDS
    assert np.array_equal(loaded["image_embedding"][:], VECTORS)


def test_lancedb_searches_the_rows(out: str, tmp_path: Path) -> None:
    import lancedb

    rows = pads.dataset(f"{out}/embeddings").to_table()
    table = lancedb.connect(str(tmp_path)).create_table("shop", rows)
    assert table.count_rows() == len(IDS)
    assert table.schema.field("image_embedding").type.list_size == DIM
    found = table.search(VECTORS[42], vector_column_name="image_embedding").metric("cosine").limit(3).to_list()
    assert found[0]["id"] == IDS[42]
    assert found[0]["_distance"] == pytest.approx(0, abs=1e-5)


def test_faiss_uses_the_column_without_a_copy(out: str) -> None:
    import faiss

    table = pads.dataset(f"{out}/embeddings").to_table().sort_by("id").combine_chunks()
    column = table["image_embedding"].chunk(0)
    vectors = column.flatten().to_numpy(zero_copy_only=True).reshape(-1, DIM)
    assert not vectors.flags.owndata
    index = faiss.IndexFlatIP(DIM)
    index.add(vectors)
    scores, rows = index.search(unit_vectors([IDS[42]], DIM, "image"), 1)
    assert table["id"][int(rows[0, 0])].as_py() == IDS[42]
    assert scores[0, 0] == pytest.approx(1, abs=1e-5)
