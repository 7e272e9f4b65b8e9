"""Test image-only and text-only sources, from the command to the columns of the dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from pipeline.vocabulary import RESERVED_COLUMNS
from tests.fixtures.driving import Drivers, assert_adds_up, rows_visible
from tests.fixtures.pictures import write_folder

pytestmark = pytest.mark.slow

IMAGE_COLUMNS = {name for name in RESERVED_COLUMNS if name.startswith("image_")}
TEXT_COLUMNS = {"text", "text_embedding"}


@pytest.fixture
def drivers(tmp_path: Path, local_ray_address: str) -> Iterator[Drivers]:
    with Drivers(tmp_path, address=local_ray_address) as drivers:
        yield drivers


def columns(out: Path) -> set[str]:
    return set(duckdb.sql(f"SELECT * FROM '{out}/embeddings/**/*.parquet' LIMIT 0").columns)


def test_a_folder_of_images_has_no_text_columns(drivers, tmp_path):
    photos, out = write_folder(tmp_path / "photos", 50), tmp_path / "out"
    summary = drivers.run("embed", str(photos), str(out), "--model", "demo")
    assert (summary["stats"]["embedded"], summary["stats"]["texts_encoded"]) == (50, 0)
    assert columns(out) == {"id", "source_fingerprint", "run_date"} | IMAGE_COLUMNS
    assert rows_visible(out) == 50
    assert_adds_up(drivers, str(out), 50)


def test_a_table_of_texts_has_no_image_columns_and_encodes_equal_texts_once(drivers, tmp_path):
    table, out = tmp_path / "titles.csv", tmp_path / "out"
    lines = [f"p{i},第{i % 30}件商品,{i / 2}" for i in range(60)]
    table.write_text("\n".join(["sku,title,price", *lines, "p60,  ,1.5"]), encoding="utf-8")
    names = ("--id-column", "sku", "--text-column", "title")
    summary = drivers.run("embed", str(table), str(out), "--model", "demo", *names)
    assert summary["stats"]["embedded"] == 60
    assert summary["stats"]["quarantined"] == {"empty_text": 1}
    assert summary["stats"]["texts_encoded"] == 30
    assert columns(out) == {"id", "source_fingerprint", "run_date", "price"} | TEXT_COLUMNS
    rows = duckdb.sql(f"SELECT text, count(DISTINCT text_embedding) FROM '{out}/embeddings/**/*.parquet' GROUP BY text")
    assert sorted(rows.fetchall()) == sorted((f"第{i}件商品", 1) for i in range(30))
    assert_adds_up(drivers, str(out), 61, quarantined=1)
