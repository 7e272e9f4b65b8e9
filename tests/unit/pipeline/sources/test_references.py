"""Test what references to images in tables mean, and that none is stored at length."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from pipeline.sources.references.image import parse, stored_id
from tests.fixtures.pictures import jpegs
from tests.fixtures.sources import put, read, reasons, scan
from tests.fixtures.tables import as_csv, as_jsonl, as_parquet

TABLE = "/data/items/c.csv"
LONG = "x" * 90_000


@pytest.mark.parametrize(
    ("written", "stored", "read_from"),
    [
        ("img/a.jpg", "/data/items/img/a.jpg", None),
        ("/img/a.jpg", "/img/a.jpg", None),
        ("//srv/photos/a.jpg", "//srv/photos/a.jpg", None),
        ("12:30 #1 100%.jpg", "/data/items/12:30 #1 100%.jpg", None),
        ("s3://b/k//a b.jpg", "s3://b/k//a b.jpg", None),
        ("http://h/a%2Fb.jpg?x=%27;+&y=#f", "http://h/a%2Fb.jpg?x=%27;+&y=#f", None),
        ("HTTP://H/a.jpg", "HTTP://H/a.jpg", None),
        ("http://h/a?X-Amz-Signature=s", "http://h/a", "http://h/a?X-Amz-Signature=s"),
        (" http://h/a.jpg", "http://h/a.jpg", None),
        ("\ufeff\u200bhttp://h/a.jpg\u3000\r\n", "http://h/a.jpg", None),
        ("//h.example/p.jpg", "https://h.example/p.jpg", None),
        ("http:\\\\h\\a\\b.jpg?c=\\d", "http:\\\\h\\a\\b.jpg?c=\\d", "http://h/a/b.jpg?c=\\d"),
        ("http://h/a?w=1&amp;h=2", "http://h/a?w=1&amp;h=2", "http://h/a?w=1&h=2"),
    ],
)
def test_what_a_reference_is_read_from(written: str, stored: str, read_from: str | None) -> None:
    reference = parse(written, TABLE)
    assert reference is not None
    assert (reference.stored, reference.uri, reference.problem) == (stored, read_from or stored, "")


@pytest.mark.parametrize("written", ["", "  ", "\ufeff", "\u200b\u3000\n", "\0"])
def test_a_blank_reference_is_none(written: str) -> None:
    assert parse(written, TABLE) is None


@pytest.mark.parametrize(
    "written",
    ["ftp://h/a", "filecache::s3://b/a", "blob:http://h/a", "javascript:void(0)", "<img src='a.jpg'>", "see http://h/a",
     "C:\\photos\\a.jpg", "a\0b.jpg", LONG + ".jpg", f"http://h/{LONG}"],
)  # fmt: skip
def test_what_is_no_address_is_a_bad_uri_with_a_short_detail(written: str) -> None:
    reference = parse(written, TABLE)
    assert reference is not None
    assert (reference.uri, reference.inline) == (None, None)
    assert len(reference.stored) <= 200
    assert 0 < len(reference.problem) <= 300


def test_paths_keep_their_blanks_and_backslashes_where_such_a_file_exists(tmp_path: Path) -> None:
    put(tmp_path, {" a .jpg ": "x", "b.jpg": "x", "d\\e.jpg": "x", "f/g.jpg": "x"})
    table = str(tmp_path / "c.csv")
    found = {written: parse(written, table) for written in (" a .jpg ", " b.jpg ", "d\\e.jpg", "f\\g.jpg", " no.jpg")}
    assert [reference and reference.uri for reference in found.values()] == [
        f"{tmp_path}/{name}" for name in (" a .jpg ", "b.jpg", "d\\e.jpg", "f/g.jpg", "no.jpg")
    ]


def encoded(image: bytes) -> dict[str, str]:
    """An image in every form that a text can have."""
    plain = base64.b64encode(image).decode()
    return {
        "data": f"data:image/jpeg;base64,{plain}",
        "upper": f"DATA:image/JPEG;charset=x;BASE64,{plain}",
        "blanks": f" data:image/jpeg;base64, {plain[:50]}\n{plain[50:]} ",
        "percent": "data:image/jpeg;base64," + plain.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D"),
        "no type": f"data:;base64,{plain}",
        "not base64": "data:image/jpeg," + "".join(f"%{byte:02x}" for byte in image),
        "plain": plain,
        "lines": "\n".join(plain[at : at + 76] for at in range(0, len(plain), 76)),
        "url-safe": base64.urlsafe_b64encode(image).decode().rstrip("="),
    }


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_images_inside_the_text_are_read_and_stored_as_a_marker(tmp_path: Path, suffix: str) -> None:
    image = next(jpegs(1))
    rows = [{"id": key, "image": text} for key, text in encoded(image).items()]
    path = tmp_path / f"c.{suffix}"
    if suffix == "parquet":
        as_parquet(rows, path)
    else:
        path.write_text(as_csv(rows) if suffix == "csv" else as_jsonl(rows), encoding="utf-8")
    spec, records = scan(path, max_image_bytes=len(image))
    found = read(spec, records)
    assert reasons(found) == {}
    assert {key: raw.image for key, raw in found.items()} == dict.fromkeys(encoded(image), image)
    assert all(record.image_uri and len(record.image_uri) < 100 for record in records)
    assert (records[0].image_uri or "").startswith("data:image/jpeg#")
    assert len({record.source_fingerprint for record in records}) == len(records)
    limited, _ = scan(path, max_image_bytes=len(image) - 1)
    assert set(reasons(read(limited, records)).values()) == {"read/too_large"}


def test_damaged_and_missing_images_have_their_own_reasons_and_short_ids(tmp_path: Path) -> None:
    rows = [{"image": text} for text in ("data:image/png;base64,@@@@", "data:image/png", f"{LONG}.jpg", " \u200b")]
    path = put(tmp_path, {"c.jsonl": as_jsonl(rows)}) / "c.jsonl"
    spec, records = scan(path)
    found = read(spec, records)
    assert list(reasons(found).values()) == ["read/bad_uri"] * 3 + ["read/missing_image"]
    details = [raw.failure.detail for raw in found.values() if raw.failure]
    assert max(map(len, [*details, *found, *(record.image_uri or "" for record in records)])) < 300
    assert records[3].id == "c.jsonl#3"


def test_ids_are_short_and_those_of_urls_stay_as_written() -> None:
    assert stored_id(" http://h/a.jpg?x=%2F") == " http://h/a.jpg?x=%2F"
    assert stored_id("a" * 2000 + ".jpg") == "a" * 2000 + ".jpg"
    assert len(stored_id(f"data:image/png;base64,{LONG}")) < 100
    assert len(stored_id(f"http://h/{LONG}")) < 200
