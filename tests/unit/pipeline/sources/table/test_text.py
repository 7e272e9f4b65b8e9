"""Text formats: encodings, arrays of JSON, headers of CSV files, and which files of a folder are tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import SourceError
from pipeline.sources.values import Widening
from tests.fixtures.sources import gzipped, put, read, scan
from tests.fixtures.tables import as_csv, as_jsonl

ASCII = "".join(f"{number},{'shoe' * 200}\n" for number in range(400)).encode()


@pytest.mark.parametrize(
    "data",
    [
        "id,text\nx,连衣裙\n".encode("gb18030"),
        "\ufeffid,text\nx,连衣裙\n".encode(),
        "id,text\r\nx,连衣裙\r\n".encode("utf-16"),
        b"\xfe\xff" + "id,text\nx,连衣裙\n".encode("utf-16-be"),
        # The first character that is not ASCII comes after the first 256 kB.
        b"id,text\n" + ASCII + "x,连衣裙\n".encode("gb18030"),
        b"id,text\n" + ASCII + "x,连衣裙\n".encode(),
        "id,text\rx,连衣裙\r".encode(),
    ],
)
def test_the_encoding_follows_from_the_content(tmp_path: Path, data: bytes) -> None:
    put(tmp_path, {"c.csv": data})
    assert read(*scan(tmp_path / "c.csv"))["x"].text == "连衣裙"


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ("id,text\nx,鞋\n".encode() + b"y,\xff\n", "byte 16 is not UTF-8"),
        (b"id,text\n" + f"x,{'连衣裙' * 100}\n".encode() * 600 + b"y,\xff\n", "byte 541,810 is not UTF-8"),
        (b"id,text\n" + f"x,{'连衣裙' * 100}\n".encode("gb18030") * 900 + b"y,\xff\n", "byte 542,710 is not GB18030"),
    ],
)
def test_a_byte_that_the_encoding_lacks_is_named(tmp_path: Path, data: bytes, place: str) -> None:
    put(tmp_path, {"c.csv": data})
    with pytest.raises(SourceError, match=place):
        scan(tmp_path / "c.csv", id_column="text")


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("12", pa.int64()),
        ("-1.5e3", pa.float64()),
        ("012", pa.string()),
        ("1２", pa.string()),
        ("12\n", pa.string()),
        ("1.5\n", pa.string()),
    ],
)
def test_a_cell_of_a_csv_file_is_a_number_if_it_is_nothing_else(cell: str, kind: pa.DataType) -> None:
    columns = Widening()
    columns.see_texts(["n"], [cell])
    assert columns.schema() == pa.schema([("n", kind)])


def test_arrays_of_json_are_read_in_pieces(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"id": str(number), "text": "鞋 [],{" + "x" * (number % 7)} for number in range(400)]
    rows[5]["text"] = "长" * 300_000
    array = json.dumps(rows, ensure_ascii=False, indent=1)
    put(tmp_path, {"a.json": array, "b.json.gz": gzipped(array.encode()), "c.jsonl": array, "d.json": as_jsonl(rows)})
    for name in ("a.json", "b.json.gz", "c.jsonl", "d.json"):
        found = read(*scan(tmp_path / name))
        assert {key: raw.text for key, raw in found.items()} == {row["id"]: row["text"] for row in rows}, name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"}, {"text": ', "is no JSON after row 1, or ends early"),
        ('[{"text": "a"}', "is no JSON after row 1, or ends early"),
        ('[{"text": "a"}, 5]', "Row 1 of .* is invalid: it is not a JSON object"),
        ('{"images": [{"file_name": "a.jpg"}], "annotations": []}', "column images of .* neither bytes nor URIs"),
    ],
)
def test_json_that_is_no_table_is_refused_with_its_place(tmp_path: Path, content: str, message: str) -> None:
    put(tmp_path, {"a.json": content})
    with pytest.raises(SourceError, match=message):
        scan(tmp_path / "a.json")


def test_json_beside_other_data_is_no_table(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "x"}]
    put(tmp_path, {"t/a.csv": as_csv(rows), "t/a_stats.json": '{"count": 1}', "j/a.json": as_jsonl(rows)})
    put(tmp_path, {"f/a.jpg": b"x", "f/a.json": "{}", "i/a.jpg": b"one", "i/metadata.jsonl": '{"file_name": "a.jpg"}'})
    assert [(*map(str, (spec.kind, spec.records)),) for spec in (scan(tmp_path / name)[0] for name in "tjfi")] == [
        ("table", "1"), ("table", "1"), ("folder", "1"), ("table", "1")
    ]  # fmt: skip
    assert read(*scan(tmp_path / "i"))["a.jpg"].image == b"one"


def test_headers_of_csv_files(tmp_path: Path) -> None:
    put(tmp_path, {"a.csv": ",id, Text \n7,a,x\n", "b.csv": "id,text,n,n,text\n1,x,2,3,y\n"})
    spec, records = scan(tmp_path / "a.csv")
    found = read(spec, records)["a"]
    assert (found.text, found.extra) == ("x", {"unnamed_0": 7})
    assert read(*scan(tmp_path / "a.csv", text_column="text"))["a"].text == "x"
    with pytest.raises(SourceError, match=r"several columns called n, text\. Rename them"):
        scan(tmp_path / "b.csv")
