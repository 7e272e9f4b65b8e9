"""Detecting the role of each table column, and the errors when that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import SourceError
from pipeline.sources.table.contract import TableColumns
from tests.fixtures.sources import put, read, scan
from tests.fixtures.tables import as_csv, as_jsonl, as_parquet


@pytest.mark.parametrize(
    ("names", "options", "roles"),
    [
        (["uid", "url", "title"], {}, ("uid", "url", "title")),
        (["ID", "Image_URL", "Caption"], {}, ("ID", "Image_URL", "Caption")),
        (["title", "caption", "text", "url", "image_path"], {}, (None, "image_path", "text")),
        (["sku", "id", "image", "url"], {}, ("id", "image", None)),
        (["a", "b", "c"], {"id_column": "b", "image_column": "c", "text_column": "a"}, ("b", "c", "a")),
        (["code", "txt"], {}, (None, None, "txt")),
    ],
)
def test_columns_are_found_by_name(
    tmp_path: Path, names: list[str], options: dict[str, str], roles: tuple[str | None, ...]
) -> None:
    put(tmp_path, {"c.csv": as_csv([dict.fromkeys(names, "v")])})
    spec, _records = scan(tmp_path / "c.csv", extra_columns=(), **options)
    assert isinstance(spec.details, TableColumns)
    assert (spec.details.id, spec.details.image, spec.details.text) == roles


def test_byte_columns_are_preferred_to_uri_columns(tmp_path: Path) -> None:
    path = as_parquet({"url": ["u"], "content": [b"x"], "image": ["y"]}, tmp_path / "a.parquet")
    spec = scan(path)[0]
    assert isinstance(spec.details, TableColumns)
    assert (spec.details.image, spec.details.image_is_uri, spec.extra.names) == ("content", False, ["url", "image"])


def test_without_an_id_column_the_id_is_the_uri_or_the_row(tmp_path: Path) -> None:
    put(tmp_path, {"x/c.jsonl": as_jsonl([{"url": "https://h/1.jpg"}, {"url": None}]), "x/d.csv": "text\na\nb\n"})
    assert [record.id for record in scan(tmp_path / "x" / "c.jsonl")[1]] == ["https://h/1.jpg", "c.jsonl#1"]
    assert [record.id for record in scan(tmp_path / "x" / "d.csv")[1]] == ["d.csv#0", "d.csv#1"]


def test_wrong_columns_are_refused_with_the_reason(tmp_path: Path) -> None:
    put(tmp_path, {"c.csv": "sku,pic,name,id\n1,a,b,c\n", "d.csv": "x,y\n1,2\n"})

    def error(name: str, **options: Any) -> str:
        with pytest.raises(SourceError) as caught:
            scan(tmp_path / name, **options)
        return str(caught.value)

    path = f"{tmp_path}/c.csv"
    assert error("c.csv", image_column="image") == (
        f"{path} has no column image; it has sku, pic, name, id. Correct --image-column."
    )
    assert "no column for images and none for texts; it has x, y" in error("d.csv")
    assert "column id has a name that hanclip writes itself" in error("c.csv", id_column="sku", text_column="name")
    assert "no column weight; it has sku, pic" in error("c.csv", text_column="name", extra_columns=("weight",))
    as_parquet({"image": [1.5], "text": ["a"]}, tmp_path / "e.parquet")
    assert "column image of" in error("e.parquet", image_column="image")


def test_a_missing_id_is_refused_with_its_row(tmp_path: Path) -> None:
    put(tmp_path, {"c.csv": "id,text\n1,a\n,b\n"})
    with pytest.raises(SourceError, match=r"Row 1 of .*c\.csv has no id"):
        scan(tmp_path / "c.csv")
    as_parquet({"id": [1, 2, None], "text": ["a"] * 3}, tmp_path / "d.parquet")
    with pytest.raises(SourceError, match=r"Row 2 of .*d\.parquet has no id"):
        scan(tmp_path / "d.parquet")


def test_several_files_form_one_table(tmp_path: Path) -> None:
    as_parquet({"id": [1], "text": ["a"], "n": [1]}, tmp_path / "t" / "a.parquet")
    as_parquet({"id": [2], "text": ["b"], "n": [2.5], "m": ["x"]}, tmp_path / "t" / "k=1" / "b.parquet")
    spec, records = scan(tmp_path / "t")
    assert spec.extra == pa.schema([("n", pa.float64()), ("m", pa.string())])
    found = read(spec, records)
    assert [raw.extra for raw in found.values()] == [{"n": 1, "m": None}, {"n": 2.5, "m": "x"}]
    as_parquet({"id": [3], "caption": ["c"]}, tmp_path / "t" / "c.parquet")
    with pytest.raises(SourceError, match=r"c\.parquet has no column text, which other tables of the source have"):
        scan(tmp_path / "t")
    assert len(scan(tmp_path / "t" / "**" / "[ab].parquet")[1]) == 2
    as_parquet({"id": [3], "text": ["c"], "n": ["one"]}, tmp_path / "t" / "c.parquet")
    with pytest.raises(SourceError, match="differ from the other tables"):
        scan(tmp_path / "t")


def test_dictionaries_timestamps_and_lists_are_kept(tmp_path: Path) -> None:
    table = {
        "text": ["a", "b"],
        "label": pa.array(["x", "x"]).dictionary_encode(),
        "when": pa.array([0, 1], pa.timestamp("ms", "UTC")),
        "vector": pa.array([[1.0, 2.0], None], pa.list_(pa.float32())),
    }
    spec, records = scan(as_parquet(table, tmp_path / "a.parquet"))
    assert spec.extra.field("label").type == pa.string()
    rows = [dict(raw.extra) for raw in read(spec, records).values()]
    assert pa.Table.from_pylist(rows, spec.extra)["vector"].to_pylist() == [[1.0, 2.0], None]
    assert pa.Table.from_pylist(rows, spec.extra)["when"].cast(pa.int64()).to_pylist() == [0, 1]


def test_csv_files_in_gb18030_or_with_a_bom_are_read(tmp_path: Path) -> None:
    put(tmp_path, {"c.csv": "编号,title\n1,连衣裙\n".encode("gb18030"), "d.csv": "\ufefftitle\n鞋\n"})
    assert [raw.text for raw in read(*scan(tmp_path / "c.csv")).values()] == ["连衣裙"]
    assert [raw.text for raw in read(*scan(tmp_path / "d.csv")).values()] == ["鞋"]
