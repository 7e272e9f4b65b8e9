"""Read tables of image bytes or image URIs, with or without texts, in every format."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import sources, storage
from pipeline.errors import SourceError, UnavailableError
from pipeline.sources import SourceSpec
from tests.fixtures.processes import patience
from tests.fixtures.servers.s3 import FaultyProxy, S3Server
from tests.fixtures.servers.web import Site
from tests.fixtures.sources import gzipped, put, read, reasons, scan
from tests.fixtures.tables import as_csv, as_jsonl, as_parquet

ROWS = [
    {"id": 1, "image": "img/1.jpg", "text": "红苹果", "price": 3, "brand": "好"},
    {"id": 2, "image": "img/2.jpg", "text": 'a "b",\nc', "price": 2.5, "brand": ""},
    {"id": 3, "image": "img/2.jpg", "text": "", "price": None, "brand": "007"},
]
IMAGES: dict[str, bytes | str] = {"img/1.jpg": b"one", "img/2.jpg": b"two"}


@pytest.fixture(params=["csv", "tsv", "jsonl", "ndjson", "csv.gz", "jsonl.gz", "parquet"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same three rows in each format."""
    suffix = str(request.param)
    put(tmp_path, IMAGES)
    path = tmp_path / f"catalog.{suffix}"
    if suffix == "parquet":
        return as_parquet(ROWS, path)
    text = as_jsonl(ROWS) if "json" in suffix else as_csv(ROWS, "\t" if "tsv" in suffix else ",")
    data = text.encode()
    path.write_bytes(gzipped(data) if suffix.endswith("gz") else data)
    return path


def test_every_format_gives_the_same_records(catalog: Path) -> None:
    spec, records = scan(catalog)
    assert (spec.kind, spec.has_images, spec.has_texts) == ("table", True, True)
    assert spec.extra == pa.schema([("price", pa.float64()), ("brand", pa.string())])
    assert [record.id for record in records] == ["1", "2", "3"]
    assert [record.image_uri for record in records] == [f"{catalog.parent}/{row['image']}" for row in ROWS]
    assert [(record.container, record.position) for record in records] == [(str(catalog), row) for row in range(3)]
    assert [record.size_bytes for record in records] == [None] * 3
    found = read(spec, records)
    assert reasons(found) == {}
    assert [raw.image for raw in found.values()] == [b"one", b"two", b"two"]
    empty = None if catalog.name.split(".")[1] in ("csv", "tsv") else ""
    assert [raw.text for raw in found.values()] == [row["text"] or empty for row in ROWS]
    assert [raw.extra for raw in found.values()] == [
        {"price": 3.0, "brand": "好"},
        {"price": 2.5, "brand": empty},
        {"price": None, "brand": "007"},
    ]


def test_an_empty_cell_is_null_and_a_blank_one_is_blank(tmp_path: Path) -> None:
    put(tmp_path, IMAGES | {"c.csv": "id,image,title\na,img/1.jpg,\nb,img/2.jpg,  \nc,,没有图\nd,img/1.jpg\n"})
    spec, records = scan(tmp_path / "c.csv")
    assert spec.describe().startswith("4 images, 2 of them with a text,")
    found = read(spec, records)
    assert {key: raw.text for key, raw in found.items() if raw.image} == {"a": None, "b": "  ", "d": None}
    assert reasons(found) == {"c": "read/missing_image"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.csv", "id;title\na;x, y\n"),
        ("c.csv", '"id";"title"\n"a";"x, y"\n'),
        ("c.csv", 'id\ttitle\na\t"x, y"\n'),
        ("c.tsv", "\nid;title\na;x, y\n"),
        ("c.csv", 'id,title\na,"x, y"\n'),
    ],
)
def test_the_delimiter_is_detected_from_the_header(tmp_path: Path, name: str, content: str) -> None:
    put(tmp_path, {name: content})
    assert [raw.text for raw in read(*scan(tmp_path / name)).values()] == ["x, y"]


def test_fingerprints_cover_the_uri_and_the_text(tmp_path: Path) -> None:
    def marks(rows: list[dict[str, Any]], **options: Any) -> list[str]:
        put(tmp_path, {"c.jsonl": as_jsonl(rows)})
        return [record.source_fingerprint for record in scan(tmp_path / "c.jsonl", **options)[1]]

    before = marks(ROWS)
    assert len(set(before)) == 3
    changed = [ROWS[0] | {"price": 99}, ROWS[1] | {"text": "new"}, ROWS[2] | {"image": "img/3.jpg"}]
    after = marks(changed)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, False]
    stamped = [row | {"changed": f"v{row['id']}"} for row in ROWS]
    assert [mark.split("+")[0] for mark in marks(stamped, fingerprint_column="changed")] == ["v1", "v2", "v3"]


def test_image_bytes_of_all_kinds(tmp_path: Path) -> None:
    put(tmp_path, {"near.jpg": b"near"})
    data = [b"a" * 1000, None, b"c" * 5000]
    structs = [{"bytes": b"s", "path": "x.jpg"}, {"bytes": None, "path": "near.jpg"}, {"bytes": None, "path": None}]
    columns = {
        "binary": pa.array(data, pa.binary()),
        "large": pa.array(data, pa.large_binary()),
        "struct": pa.array(structs),
    }
    for name, column in columns.items():
        path = as_parquet({"sku": ["a", "b", "c"], "photo": column}, tmp_path / f"{name}.parquet")
        spec, records = scan(path, max_image_bytes=2000)
        assert [record.image_uri for record in records] == [f"{path}#{row}" for row in range(3)]
        assert all(record.size_bytes and record.size_bytes > 0 for record in records)
        assert len({record.source_fingerprint for record in records}) == 3
        found = read(spec, records)
        if name == "struct":
            assert [raw.image for raw in found.values()] == [b"s", b"near", None]
            assert reasons(found) == {"c": "read/missing_image"}
        else:
            assert found["a"].image == data[0]
            assert reasons(found) == {"b": "read/missing_image", "c": "read/too_large"}


def test_row_groups_are_read_in_any_order_and_by_two_threads(tmp_path: Path) -> None:
    images = [number.to_bytes(4, "big") * 2000 for number in range(700)]
    path = as_parquet({"image": images, "n": list(range(700))}, tmp_path / "p.parquet", group=90)
    spec, records = scan(path)
    assert [record.id for record in records[:2]] == ["p.parquet#0", "p.parquet#1"]
    assert [raw.image for raw in read(spec, records, chunk=64).values()] == images
    assert [raw.image for raw in read(spec, records[::-1], chunk=64).values()] == images[::-1]
    assert [raw.extra["n"] for raw in read(spec, records[5:600:97]).values()] == list(range(5, 600, 97))
    reader = sources.reader(spec)
    with ThreadPoolExecutor(2) as pool:
        chunks = list(pool.map(reader.read, [records[at : at + 32] for at in range(0, 700, 32)]))
    reader.close()
    assert [raw.image for chunk in chunks for raw in chunk] == images


def test_text_tables_are_read_in_any_order(tmp_path: Path) -> None:
    rows = [{"id": number, "text": f"字{number}"} for number in range(500)]
    for name, content in (("c.csv", as_csv(rows)), ("c.jsonl", as_jsonl(rows))):
        put(tmp_path, {name: content})
        spec, records = scan(tmp_path / name)
        assert (spec.has_images, spec.has_texts) == (False, True)
        for order in (records, records[::-1], records[400:] + records[:50]):
            found = read(spec, order, chunk=40)
            assert {key: raw.text for key, raw in found.items()} == {record.id: f"字{record.id}" for record in order}


def test_each_bad_image_uri_has_its_own_reason(tmp_path: Path) -> None:
    put(tmp_path, IMAGES | {"large.jpg": b"x" * 200})
    uris = {
        "ok": "img/1.jpg",
        "absolute": f"{tmp_path}/img/2.jpg",
        "file": f"file://{tmp_path}/img/2.jpg",
        "up": "../" + tmp_path.name + "/img/1.jpg",
        "gone": "img/9.jpg",
        "none": None,
        "empty": "",
        "large": "large.jpg",
        "private": "http://127.0.0.1:9/a.jpg",
        "metadata": "http://169.254.169.254/latest/meta-data/",
        "ftp": "ftp://host/a.jpg",
        "chain": "filecache::s3://b/a.jpg",
        "folder": "img",
    }
    put(tmp_path, {"c.jsonl": as_jsonl([{"id": key, "image": uri} for key, uri in uris.items()])})
    spec, records = scan(tmp_path / "c.jsonl", max_image_bytes=100)
    found = read(spec, records)
    assert reasons(found) == {
        "gone": "read/not_found",
        "none": "read/missing_image",
        "empty": "read/missing_image",
        "large": "read/too_large",
        "private": "read/address_refused",
        "metadata": "read/address_refused",
        "ftp": "read/bad_uri",
        "chain": "read/bad_uri",
        "folder": "read/unreadable",
    }
    assert {key: raw.image for key, raw in found.items() if raw.image} == {
        "ok": b"one",
        "absolute": b"two",
        "file": b"two",
        "up": b"one",
    }


def test_hosts_that_are_down_fail_their_records_and_an_only_host_the_shard(tmp_path: Path) -> None:
    rows = [{"id": key, "url": f"http://127.0.0.1:{port}/a.jpg"} for key, port in (("a", 9), ("b", 9), ("c", 11))]
    put(tmp_path, {"many.jsonl": as_jsonl(rows), "one.jsonl": as_jsonl(rows[:2])})
    many, one = (scan(tmp_path / name, allow_private_hosts=True) for name in ("many.jsonl", "one.jsonl"))
    assert reasons(read(*many)) == dict.fromkeys("abc", "read/host_down")
    with pytest.raises(UnavailableError):
        read(*one)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1 not really", "is not a Parquet file"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "Row 1 of .* is invalid"),
        ("a.jsonl", b'["a"]\n', "it is not a JSON object"),
        ("a.csv", b"text,text\na,b\n", "several columns called text"),
        ("a.csv", b"text\na\n" + b"x" * 300_000 + b"\xff\n", "byte 300,007 is not UTF-8"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"text\n", "have no rows"),
        ("a.csv", b'id,text\n1,a\n2,"5 inch phone\n3,c\n', r"Row 1 of .*a\.csv \(line 3\) has an open or stray quote"),
        ("a.csv", b'id,text\n1,"5 inch phone\n2,"b"\n', r"Row 0 of .* \(line 2\) has an open or stray quote"),
        ("a.tsv", b'id\ttext\n1\ta\n2\t"5 inch phone\n3\tc\n', r"Row 1 of .*double the quotes"),
        ("a.tsv", b'id\ttext\n1\t"5 inch phone\n2\ta 6"\n3\tc\n', r"Row 0 of .* has a cell of several rows"),
        ("a.csv", b"id,text\n1,a\n\n2,b,c\n", r"Row 1 of .* \(line 4\) has 3 cells and the header 2"),
        ("a.csv", b'"id,text\n1,a\n', r"The header of .* has an open or stray quote"),
        ("a.csv.gz", gzipped(b"text\n" + b"abc\n" * 99)[:-20], "damaged"),
    ],
)
def test_damaged_tables_are_refused_with_the_reason(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    put(tmp_path, {name: content})
    with pytest.raises(SourceError, match=message):
        scan(tmp_path / name)


def test_empty_cells_behind_the_last_column_and_inches_inside_a_cell_are_fine(tmp_path: Path) -> None:
    put(tmp_path, {"c.csv": 'id,text\n1,a 5" phone,\n2,b,,\n3\n', "c.tsv": 'id\ttext\n1\ta 5" phone\n'})
    found = read(*scan(tmp_path / "c.csv"))
    assert [raw.text for raw in found.values()] == ['a 5" phone', "b", None]
    assert [raw.text for raw in read(*scan(tmp_path / "c.tsv")).values()] == ['a 5" phone']


def test_a_quote_opened_since_planning_fails_the_records_from_there_on(tmp_path: Path) -> None:
    put(tmp_path, {"c.csv": "id,text\n1,a\n2,b\n3,c\n"})
    spec, records = scan(tmp_path / "c.csv")
    put(tmp_path, {"c.csv": 'id,text\n1,a\n2,"b\n3,c\n'})
    found = read(spec, records)
    assert reasons(found) == dict.fromkeys(["2", "3"], "read/unreadable")
    assert found["3"].failure
    assert "open or stray quote" in found["3"].failure.detail


def test_a_table_that_changed_since_planning_is_detected(catalog: Path) -> None:
    spec, records = scan(catalog)
    rows = [ROWS[0], ROWS[1] | {"id": 9}]
    if catalog.suffix == ".parquet":
        as_parquet(rows, catalog)
    else:
        text = as_jsonl(rows) if "json" in catalog.name else as_csv(rows, "\t" if "tsv" in catalog.name else ",")
        catalog.write_bytes(gzipped(text.encode()) if catalog.name.endswith("gz") else text.encode())
    assert reasons(read(spec, records)) == {"2": "read/changed", "3": "read/changed"}
    catalog.unlink()
    assert set(reasons(read(spec, records)).values()) == {"read/not_found"}


def test_a_limit_ends_the_listing(tmp_path: Path) -> None:
    rows = [{"id": number, "text": "a"} for number in range(20_000)]
    put(tmp_path, {"c.csv": as_csv(rows)})
    _spec, records = scan(tmp_path / "c.csv", limit=10_001)
    assert [record.id for record in records] == [str(number) for number in range(10_001)]


def test_a_limit_does_not_narrow_the_column_types(tmp_path: Path) -> None:
    rows = [{"id": number, "text": "a", "n": number if number < 1200 else "many"} for number in range(1500)]
    put(tmp_path, {"c.csv": as_csv(rows)})
    spec, records = scan(tmp_path / "c.csv", limit=1300)
    found = read(spec, records)
    assert (reasons(found), found["1"].extra, found["1250"].extra) == ({}, {"n": "1"}, {"n": "many"})


def test_lone_surrogates_do_not_stop_a_table(tmp_path: Path) -> None:
    put(tmp_path, {"c.jsonl": r'{"id": "a", "text": "x\ud83d", "n": "\uD83D\ude00\uD83D"}'})
    found = read(*scan(tmp_path / "c.jsonl"))
    assert (found["a"].text, found["a"].extra) == ("x\ud83d", {"n": "😀?"})  # the decoder refuses such a text


def test_tables_in_a_bucket(s3: S3Server, tmp_path: Path) -> None:
    base = s3.bucket()
    storage.overwrite(f"{base}/img/1.jpg", b"one")
    path = as_parquet({"id": [1, 2], "image": ["img/1.jpg", "img/none.jpg"]}, tmp_path / "a.parquet")
    storage.overwrite(f"{base}/a.parquet", path.read_bytes())
    storage.overwrite(f"{base}/t/b.jsonl.gz", gzipped(as_jsonl([{"id": 3, "image": f"{base}/img/1.jpg"}]).encode()))

    def images(spec: SourceSpec, records: list[Any]) -> dict[str, Any]:
        return {key: raw.image or str(raw.failure and raw.failure.reason) for key, raw in read(spec, records).items()}

    assert images(*scan(f"{base}/a.parquet")) == {"1": b"one", "2": "not_found"}
    assert images(*scan(f"{base}/t")) == {"3": b"one"}
    assert images(*scan(f"{base}/t/*.jsonl.gz")) == {"3": b"one"}


def test_signatures_of_image_urls_are_used_and_not_stored(site: Site, tmp_path: Path) -> None:
    def table(signature: str) -> Path:
        query = f"X-Amz-Credential=me&X-Amz-Signature={signature}"
        rows = [{"image": f"{site.url(path)}?{query}"} for path in ("/a.jpg", "/status/403")]
        put(tmp_path, {"c.jsonl": as_jsonl(rows)})
        return tmp_path / "c.jsonl"

    spec, records = scan(table("s3cret"), allow_private_hosts=True)
    plain = [site.url("/a.jpg"), site.url("/status/403")]
    assert ([record.id for record in records], [record.image_uri for record in records]) == (plain, plain)
    found = read(spec, records)
    assert found[plain[0]].image == b"image bytes"
    assert "/a.jpg?X-Amz-Credential=me&X-Amz-Signature=s3cret" in site.requests
    assert reasons(found) == {plain[1]: "read/forbidden"}
    assert "s3cret" not in repr((spec, found))
    assert scan(table("an0ther"), allow_private_hosts=True)[1] == records
    named, by_url = scan(tmp_path / "c.jsonl", id_column="image", allow_private_hosts=True)
    assert [record.id for record in by_url] == plain
    assert read(named, by_url)[plain[0]].image == b"image bytes"


def test_tables_are_read_with_the_configured_timeouts(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    base = s3.bucket()
    storage.overwrite(f"{base}/c.csv", b"id,text\n1,a\n")
    proxy = FaultyProxy(s3.endpoint)
    proxy.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    spec, records = scan(f"{base}/c.csv", retry_timeout_s=0)
    proxy.faults.extend([503] * 100)
    started = time.monotonic()
    with pytest.raises(UnavailableError):
        read(spec, records)
    assert time.monotonic() - started < patience(3)
    assert len(proxy.faults) == 99
    proxy.stop()


def test_tables_on_a_web_site(site: Site, tmp_path: Path) -> None:
    path = as_parquet({"id": ["a", "b"], "image": [b"one", b"two"]}, tmp_path / "a.parquet")
    site.files = {"/a.parquet": path.read_bytes(), "/b.csv": b"id,image\na,img/1.jpg\n", "/img/1.jpg": b"one"}
    spec, records = scan(site.url("/a.parquet"))
    assert [raw.image for raw in read(spec, records).values()] == [b"one", b"two"]
    spec, records = scan(site.url("/b.csv"))
    assert reasons(read(spec, records)) == {"a": "read/address_refused"}
    spec, records = scan(site.url("/b.csv"), allow_private_hosts=True)
    assert [raw.image for raw in read(spec, records).values()] == [b"one"]
