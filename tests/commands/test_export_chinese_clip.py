"""Test `hanclip export --to chinese-clip`: from the authors' files to features and back."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.curation.evaluate.features import read_features
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.schema import QUARANTINE
from pipeline.sources.chinese_clip.texts_file import read_texts
from tests.fixtures.chinese_clip import write_images, write_lmdb, write_texts
from tests.fixtures.datasets import an_identity, commit, embedded_rows, provenance, some_records
from tests.fixtures.pictures import jpegs

IMAGES = dict(zip([12, 7, 1024, 3], jpegs(4), strict=True))
TEXTS = [(1, "红色连衣裙", [12, 7]), (2, "“白”色  T恤", [1024]), (30, "没有图片", [])]


def features(path: Path) -> dict[str, np.ndarray]:
    return {str(id_): vector for ids, block in read_features(str(path)) for id_, vector in zip(ids, block, strict=True)}


def stored(out: Path, column: str) -> dict[str, np.ndarray]:
    files = sorted(out.glob("embeddings/*/*.parquet"))
    rows = [row for file in files for row in pq.read_table(file, columns=["id", column], partitioning=None).to_pylist()]
    return {row["id"]: np.array(row[column], np.float32) for row in rows if row[column] is not None}


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], within: float = 0) -> None:
    assert found.keys() == wanted.keys()
    assert wanted
    for key, vector in wanted.items():
        np.testing.assert_allclose(found[key], vector, rtol=0, atol=within, err_msg=key)


@pytest.mark.slow
def test_round_trip_from_the_authors_files_to_the_authors_features(local_ray, hanclip, tmp_path):
    source, images, texts, out = (tmp_path / name for name in ("MUGE", "images", "texts", "features"))
    write_images(source, "valid", IMAGES)
    write_texts(source, "valid", TEXTS)
    options = ("--model", "demo", "--dtype", "fp32", "--decoders", 1, "--embedders", 1)
    assert hanclip("embed", source, images, "--split", "valid", *options)["stats"]["embedded"] == 4
    assert hanclip("embed", source / "valid_texts.jsonl", texts, *options)["stats"]["embedded"] == 3
    hashes = duckdb.sql(f"SELECT id, image_sha256 FROM '{images}/embeddings/**/*.parquet'").fetchall()
    assert dict(hashes) == {str(key): sha256(data).hexdigest() for key, data in IMAGES.items()}
    assert hanclip("embed", source, images, "--split", "valid", *options)["rows_already_done"] == 4

    for dataset in (images, texts):
        hanclip("export", dataset, out, "--to", "chinese-clip")
    names = ["valid_imgs.img_feat.jsonl", "valid_texts.jsonl", "valid_texts.txt_feat.jsonl"]
    assert sorted(path.name for path in out.iterdir()) == names
    for name, dataset, column in ((names[0], images, "image_embedding"), (names[2], texts, "text_embedding")):
        assert_same(features(out / name), stored(dataset, column))
        assert all(abs(np.linalg.norm(vector) - 1) < 1e-6 for vector in features(out / name).values())
    assert list(read_texts(str(out / names[1]))) == list(read_texts(str(source / "valid_texts.jsonl")))
    line = json.loads((out / names[0]).read_text().splitlines()[0])
    assert list(line) == ["image_id", "feature"]
    assert type(line["image_id"]) is int

    shutil.rmtree(source)
    write_lmdb(source / "lmdb" / "valid", IMAGES, TEXTS)
    again = tmp_path / "again"
    hanclip("embed", source, again, "--records", "pairs", *options)
    rows = duckdb.sql(f"SELECT id, text, image_sha256, text_id, image_id FROM '{again}/embeddings/**/*.parquet'")
    assert sorted(rows.fetchall()) == sorted(
        (f"{text_id}:{key}", text, sha256(IMAGES[key]).hexdigest(), str(text_id), str(key))
        for text_id, text, keys in TEXTS
        for key in keys
    )
    found = stored(again, "image_embedding")
    assert_same(
        {key.split(":")[1]: vector for key, vector in found.items()},
        {key: vector for key, vector in stored(images, "image_embedding").items() if key != "3"},
        within=1e-6,  # batches of three pictures here, of four there
    )


@pytest.fixture
def shop(tmp_path) -> Path:
    """A dataset of images with texts and non-numeric ids."""
    dataset = Dataset.open_or_create(str(tmp_path / "shop"), an_identity())
    commit(dataset, 1, some_records(5000))
    commit(dataset, 2, some_records(10, first=5000))
    return tmp_path / "shop"


def test_non_numeric_ids_are_refused_or_numbered(hanclip, shop, tmp_path):
    out = tmp_path / "features"
    failed = hanclip("export", shop, out, "--to", "chinese-clip", code=2)
    assert "The id 'item-00000' is not an integer" in failed["message"]
    assert "--number-ids" in failed["message"]
    assert not out.exists()
    result = hanclip("export", shop, out, "--to", "chinese-clip", "--number-ids", "--split", "test")
    assert set(result["files"].values()) == {5010}
    ids = dict(line.split("\t") for line in (out / "test_ids.tsv").read_text().splitlines())
    assert list(ids) == [str(at) for at in range(5010)]
    for name, column in (("imgs.img_feat", "image_embedding"), ("texts.txt_feat", "text_embedding")):
        found = features(out / f"test_{name}.jsonl")
        assert_same({ids[key]: vector for key, vector in found.items()}, stored(shop, column))
    texts = list(read_texts(str(out / "test_texts.jsonl")))
    assert [(text.text, text.image_ids) for text in texts[:2]] == [
        (f"红色连衣裙 {ids[str(at)]}", (str(at),)) for at in range(2)
    ]


@pytest.mark.parametrize("cell", ["7;8", "7", '["7"]', "[true]", '{"7": 8}'])
def test_a_malformed_image_ids_column_is_refused(hanclip, tmp_path, cell):
    identity = an_identity(extra=pa.schema([("image_ids", pa.string())]))
    records = [replace(record, id=str(at)) for at, record in enumerate(some_records(3))]
    rows = embedded_rows(records, an_identity()).append_column("image_ids", pa.array(["[7, 8]", cell, None]))
    dataset = Dataset.open_or_create(str(tmp_path / "shop"), identity)
    dataset.write_shard("0" * 32, "2026-11-21", rows, QUARANTINE.empty_table(), provenance(3))
    result = hanclip("export", dataset.uri, tmp_path / "f", "--to", "chinese-clip", code=2)
    assert f"The row 1 has {cell!r} in its column image_ids" in result["message"]
    assert not (tmp_path / "f").exists()
    hanclip("export", dataset.uri, tmp_path / "f", "--to", "chinese-clip", "--number-ids")
    truth = [text.image_ids for text in read_texts(str(tmp_path / "f" / "valid_texts.jsonl"))]
    assert truth == [("0",), ("1",), ("2",)]


def test_repeated_exports_are_identical_and_a_dry_run_writes_nothing(hanclip, shop, tmp_path):
    out = tmp_path / "features"
    result = hanclip("export", shop, out, "--to", "chinese-clip", "--number-ids", "--vectors", "image", "--dry-run")
    assert (result["rows_in_dataset"], result["files"], out.exists()) == (5010, {}, False)
    contents = []
    for _ in range(2):
        hanclip("export", shop, out, "--to", "chinese-clip", "--number-ids", "--vectors", "image")
        contents.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {"valid_ids.tsv", "valid_imgs.img_feat.jsonl"}


def test_float16_vectors_are_normalised_again(hanclip, tmp_path):
    dataset = Dataset.open_or_create(str(tmp_path / "half"), an_identity(embedding_dtype="float16"))
    commit(dataset, 1, some_records(20))
    hanclip("export", tmp_path / "half", tmp_path / "f", "--to", "chinese-clip", "--number-ids")
    wanted = list(stored(tmp_path / "half", "image_embedding").values())
    for vector, half in zip(features(tmp_path / "f" / "valid_imgs.img_feat.jsonl").values(), wanted, strict=True):
        assert abs(np.linalg.norm(vector) - 1) < 1e-6
        assert np.allclose(vector, half, atol=1e-3)
