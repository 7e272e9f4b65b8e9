"""Test a text-only source, from the command to the columns of the dataset. `test_driver` has an image-only one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.fixtures.driving import Drivers, assert_adds_up

pytestmark = pytest.mark.slow

TEXT_COLUMNS = {"text", "text_embedding"}


@pytest.fixture
def drivers(tmp_path: Path, local_ray_address: str) -> Iterator[Drivers]:
    with Drivers(tmp_path, address=local_ray_address) as drivers:
        yield drivers


def columns(out: Path) -> set[str]:
    return set(duckdb.sql(f"SELECT * FROM '{out}/embeddings/**/*.parquet' LIMIT 0").columns)


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
