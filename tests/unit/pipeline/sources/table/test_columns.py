"""Detecting the role of each table column, and the errors when that fails."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from pipeline.errors import SourceError
from pipeline.sources.extra import gather
from pipeline.sources.table.contract import TableColumns
from tests.fixtures.pictures import jpegs
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


PICTURE = next(jpegs(1))


@pytest.mark.parametrize(
    ("columns", "roles"),
    [
        # A column of bytes under a name of its own is the image only if it holds images.
        ({"url": ["u"], "content": [PICTURE], "image": ["y"]}, ("content", False, None)),
        ({"url": ["u"], "content": [b"x"]}, ("url", True, None)),
        ({"text": ["t"], "vector": [b"x"]}, (None, False, "text")),
        ({"text": ["t"], "vector": pa.array([None], pa.binary())}, ("vector", False, "text")),
        ({"url": [["u", "v"]], "text": ["t"]}, ("url", True, "text")),
        ({"images": [[PICTURE]], "text": ["t"]}, ("images", False, "text")),
        ({"images": [[{"bytes": PICTURE, "path": None}]], "caption": [["t"]]}, ("images", False, "caption")),
        ({"text": [5]}, (None, False, "text")),
        ({"text": ["t"], "image": pa.nulls(1)}, (None, False, "text")),
        ({" URL ": ["u"], "TEXT": ["t"]}, (" URL ", True, "TEXT")),
    ],
)
def test_roles_follow_from_names_and_types(
    tmp_path: Path, columns: dict[str, Any], roles: tuple[str | None, bool, str | None]
) -> None:
    found = scan(as_parquet(columns, tmp_path / "a.parquet"))[0].details
    assert isinstance(found, TableColumns)
    assert (found.image, found.image_is_uri, found.text) == roles


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": [{"zh": "t"}]}, "column text of .* holds struct<zh: string>, not texts or lists of texts. Name"),
        ({"text": [b"t"], "url": ["u"]}, "column text of .* holds binary, not texts"),
        ({"text": [[{"raw": "t"}]]}, "column text of .* holds list<.*raw: string>>, not texts"),
        ({"id": [[1]], "text": ["t"]}, "column id of .* holds list<.*>, not texts or numbers"),
        ({"url": [5], "text": ["t"]}, "column url of .* holds int64, neither bytes nor URIs"),
        ({"url": [b"u"], "text": ["t"]}, "column url of .* holds bytes that are no images. Write addresses as text"),
        ({"url": ["u"], "data": pa.array([None], pa.binary())}, "--image-column data or --image-column url"),
    ],
)
def test_types_that_fit_no_role_are_refused_when_planning(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        scan(as_parquet(columns, tmp_path / "a.parquet"))


def test_values_become_text_by_one_rule(tmp_path: Path) -> None:
    far = pa.array([253_402_300_800_000], pa.timestamp("ms"))
    columns = {
        "int": [7], "double": [0.1], "bool": [True], "time": pa.array([0], pa.timestamp("ms")), "far": far,
        "ns": pa.array([1], pa.timestamp("ns")), "decimal": [Decimal("1.50")],
    }  # fmt: skip
    texts = ["7", "0.1", "true", "1970-01-01 00:00:00", "10000-01-01 00:00:00.000", "1970-01-01 00:00:00.000000001",
             "1.50"]  # fmt: skip
    path = as_parquet({"text": ["t"], **columns}, tmp_path / "a.parquet")
    for name, text in zip(columns, texts, strict=True):
        spec, records = scan(path, id_column=name, text_column=name, fingerprint_column=name)
        assert [(key, raw.text) for key, raw in read(spec, records).items()] == [(text, text)]
    put(tmp_path, {"c.jsonl": '{"id": 1.0, "text": true}\n{"id": "x", "text": 12345678901234567890}'})
    found = read(*scan(tmp_path / "c.jsonl"))
    assert {key: raw.text for key, raw in found.items()} == {"1.0": "true", "x": "12345678901234567890"}


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
    assert error("c.csv", text_column="Name2").endswith("sku, pic, name, id. Did you mean name? Correct --text-column.")
    assert "no column for images and none for texts; it has x, y" in error("d.csv")
    assert "no column weight; it has sku, pic" in error("c.csv", text_column="name", extra_columns=("weight",))
    lost = error("c.csv", text_column="name", drop_columns=("wieght", "Pics"))
    assert lost.endswith("it has sku, pic. Did you mean pic? Correct --drop-column.")
    as_parquet({"image": [1.5], "text": ["a"]}, tmp_path / "e.parquet")
    assert "column image of" in error("e.parquet", image_column="image")


def test_a_missing_id_is_refused_with_its_row(tmp_path: Path) -> None:
    put(tmp_path, {"c.csv": "id,text\n1,a\n,b\n"})
    with pytest.raises(SourceError, match=r"Row 1 of .*c\.csv, counted from 0, has no id"):
        scan(tmp_path / "c.csv")
    as_parquet({"id": [1, 2, None], "text": ["a"] * 3}, tmp_path / "d.parquet")
    with pytest.raises(SourceError, match=r"Row 2 of .*d\.parquet, counted from 0, has no id"):
        scan(tmp_path / "d.parquet")


def test_several_files_form_one_table(tmp_path: Path) -> None:
    as_parquet({"id": [1], "text": ["a"], "n": [1]}, tmp_path / "t" / "a.parquet")
    as_parquet({"id": [2], "text": ["b"], "n": [2.5], "m": ["x"]}, tmp_path / "t" / "k=1" / "b.parquet")
    spec, records = scan(tmp_path / "t")
    assert spec.extra == pa.schema([("n", pa.float64()), ("m", pa.string())])
    found = read(spec, records)
    assert [raw.extra for raw in found.values()] == [{"n": 1, "m": None}, {"n": 2.5, "m": "x"}]
    as_parquet({"id": [3], "text": ["c"], "n": ["one"]}, tmp_path / "t" / "c.parquet")
    mixed = read(*scan(tmp_path / "t"))
    assert [raw.extra["n"] for raw in mixed.values()] == ["1", "one", "2.5"]
    as_parquet({"id": [3], "caption": ["c"]}, tmp_path / "t" / "c.parquet")
    with pytest.raises(SourceError, match=r"c\.parquet has no column text, which other tables of the source have"):
        scan(tmp_path / "t")
    assert len(scan(tmp_path / "t" / "**" / "[ab].parquet")[1]) == 2
    as_parquet({"id": [3], "text": ["c"], "n": [[1]]}, tmp_path / "t" / "c.parquet")
    with pytest.raises(SourceError, match=r"column n of .* holds list<.*>, and int64 in other files.*--drop-column"):
        scan(tmp_path / "t")
    assert len(scan(tmp_path / "t", drop_columns=("n",))[1]) == len(scan(tmp_path / "t", extra_columns=("m",))[1]) == 3


def test_dictionaries_timestamps_and_lists_are_kept(tmp_path: Path) -> None:
    table = {
        "text": ["a", "b"],
        "label": pa.array(["x", "x"]).dictionary_encode(),
        "when": pa.array([0, 1], pa.timestamp("ms", "UTC")),
        "vector": pa.array([[1.0, 2.0], None], pa.list_(pa.float32())),
    }
    spec, records = scan(as_parquet(table, tmp_path / "a.parquet"))
    assert spec.extra.field("label").type == pa.string()
    carried = gather([raw.extra for raw in read(spec, records).values()], spec.extra)
    assert carried["vector"].to_pylist() == [[1.0, 2.0], None]
    assert carried["when"].cast(pa.int64()).to_pylist() == [0, 1]


def test_looking_for_images_decodes_none_and_leaves_pillows_limit_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)  # fewer than the picture has
    found = scan(as_parquet({"url": ["u"], "content": [PICTURE]}, tmp_path / "a.parquet"))[0].details
    assert isinstance(found, TableColumns)
    assert (found.image, Image.MAX_IMAGE_PIXELS) == ("content", 1)
