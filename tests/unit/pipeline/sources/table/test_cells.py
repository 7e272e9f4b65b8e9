"""Cells of role columns: several captions, images in JSON, Data-Juicer's marks; and rows that cannot be read."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.vocabulary import Captions
from tests.fixtures.sources import put, read, reasons, scan
from tests.fixtures.tables import as_jsonl, as_parquet

ROWS: list[dict[str, Any]] = [
    {"id": "a", "caption": ["红", " ", "绿"], "image": "a.jpg"},
    {"id": "b", "caption": [], "image": "a.jpg"},
    {"id": "c", "caption": ["黄"], "image": "a.jpg"},
]


def table(tmp_path: Path, suffix: str, rows: list[dict[str, Any]]) -> Path:
    """The rows as JSON lines or as Parquet, beside the image that they refer to."""
    put(tmp_path, {"a.jpg": b"one"} if suffix == "parquet" else {"a.jpg": b"one", "c.jsonl": as_jsonl(rows)})
    return as_parquet(rows, tmp_path / "c.parquet") if suffix == "parquet" else tmp_path / "c.jsonl"


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    ("captions", "texts"),
    [
        ("first", {"a": "红", "b": None, "c": "黄"}),
        ("joined", {"a": "红 绿", "b": None, "c": "黄"}),
        ("rows", {"a#0": "红", "a#1": "绿", "b#0": None, "c#0": "黄"}),
    ],
)
def test_several_captions(tmp_path: Path, suffix: str, captions: Captions, texts: dict[str, str | None]) -> None:
    spec, records = scan(table(tmp_path, suffix, ROWS), captions=captions)
    found = read(spec, records, chunk=2)
    assert {key: raw.text for key, raw in found.items()} == texts
    assert {raw.image for raw in found.values()} == {b"one"}
    assert [note.partition(",")[0] for note in spec.notes] == ["1 rows have several captions in caption"] * (
        captions == "first"
    )


def test_captions_of_changed_rows_are_not_mixed_up(tmp_path: Path) -> None:
    spec, records = scan(table(tmp_path, "jsonl", ROWS), captions="rows")
    table(tmp_path, "jsonl", [ROWS[0] | {"caption": ["红"]}, *ROWS[1:]])
    assert reasons(read(spec, records)) == {"a#1": "read/changed"}


def test_the_first_of_several_images_is_read_and_the_others_are_reported(tmp_path: Path) -> None:
    rows = [{"id": "a", "images": ["a.jpg", "b.jpg"], "text": "x"}, {"id": "b", "images": [], "text": "y"}]
    for suffix in ("jsonl", "parquet"):
        spec, records = scan(table(tmp_path, suffix, rows))
        found = read(spec, records)
        assert (found["a"].image, reasons(found)) == (b"one", {"b": "read/missing_image"})
        assert spec.notes == ("1 rows have several images in images, and the first is taken.",)


def test_images_in_json_are_read_as_hugging_face_writes_them(tmp_path: Path) -> None:
    data = base64.b64encode(b"two").decode()
    rows = [
        {"id": "path", "image": {"bytes": None, "path": "a.jpg"}},
        {"id": "bytes", "image": {"bytes": data, "path": "a.jpg"}},
        {"id": "null", "image": None},
        {"id": "damaged", "image": {"bytes": "?"}},
    ]
    found = read(*scan(table(tmp_path, "jsonl", rows)))
    assert (found["path"].image, found["bytes"].image) == (b"one", b"two")
    assert reasons(found) == {"null": "read/missing_image", "damaged": "read/bad_uri"}


def test_values_of_another_type_than_the_first_rows_fail_alone(tmp_path: Path) -> None:
    good = [{"id": number, "image": "a.jpg", "text": "好", "n": 1} for number in range(1100)]
    odd = [
        {"id": "text", "image": "a.jpg", "text": {"zh": "x"}},
        {"id": "image", "image": 7, "text": "x"},
        {"id": "struct", "image": {"path": "a.jpg"}, "text": ["x"]},
        {"id": "n", "image": "a.jpg", "text": "x", "n": [10**400]},
    ]
    found = read(*scan(table(tmp_path, "jsonl", [*good, *odd])))
    assert reasons(found) == {"text": "text/bad_text", "image": "read/bad_uri"}
    assert (found["struct"].image, found["struct"].text, found["n"].extra) == (b"one", "x", {"n": f"[{10**400}]"})


def test_text_that_is_not_unicode_is_left_to_its_record(tmp_path: Path) -> None:
    path = as_parquet({"id": ["a", "b"], "text": ["xx", "yy"]}, tmp_path / "c.parquet", compression="none")
    path.write_bytes(path.read_bytes().replace(b"xx", b"x\xff"))
    assert {key: raw.text for key, raw in read(*scan(path)).items()} == {"a": "x\udcff", "b": "yy"}


def test_marks_of_data_juicer_are_no_text(tmp_path: Path) -> None:
    texts = ["<__dj__image> 红 鞋 <|__dj__eoc|>", "<__dj__image>\n红<|__dj__eoc|><__dj__image>绿<|__dj__eoc|>"]
    rows = [{"id": str(number), "images": ["a.jpg"], "text": text} for number, text in enumerate(texts)]
    spec, records = scan(table(tmp_path, "jsonl", rows), captions="joined")
    assert [raw.text for raw in read(spec, records).values()] == ["红 鞋", "红 绿"]


def test_columns_that_hanclip_writes_itself_are_carried_under_another_name(tmp_path: Path) -> None:
    rows = [{"URL": "a.jpg", "TEXT": "好", "similarity": 0.3, "source_similarity": 1, "NSFW": "no", "id": {"k": 1}}]
    for suffix in ("parquet", "jsonl"):
        path = table(tmp_path, suffix, rows)
        spec, records = scan(path, drop_columns=("NSFW", "id"))
        assert spec.describe().endswith("carrying similarity as source_source_similarity, source_similarity")
        extra = read(spec, records)["a.jpg"].extra
        assert dict(extra) == {"source_source_similarity": 0.3, "source_similarity": 1}
        assert scan(path, drop_columns=("id",), extra_columns=("similarity",))[0].renamed == {
            "source_source_similarity": "similarity"
        }
    assert json.loads(str(read(*scan(path, id_column="URL"))["a.jpg"].extra["source_id"])) == {"k": 1}
