"""Read WebDataset tars, plain and gzipped, intact and damaged."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import sources, storage
from pipeline.errors import SourceError, UnavailableError
from pipeline.sources.webdataset.tar import TarDetails
from pipeline.stats import Skipped
from pipeline.vocabulary import Skip
from tests.fixtures.servers.s3 import FaultyProxy, S3Server
from tests.fixtures.sources import gzipped, put, read, reasons, scan, tar_bytes

PLAIN = [
    ("a/1.jpg", b"one" * 300),
    ("a/1.txt", "红苹果".encode()),
    ("a/1.json", json.dumps({"price": 1, "brand": "好", "size": {"w": 1}, "tags": [1]}).encode()),
    ("a/1.cls", b"7"),
    ("a/2.png", b"two"),
    ("a/2.json", json.dumps({"price": 2.5, "brand": None, "new": True}).encode()),
]


@pytest.fixture(params=["x.tar", "x.tar.gz", "x.tgz"])
def tar_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def packed(name: str, data: bytes) -> bytes:
    return data if name.endswith(".tar") else gzipped(data)


def test_samples_become_records_with_texts_and_columns(tmp_path: Path, tar_name: str) -> None:
    put(tmp_path, {tar_name: packed(tar_name, tar_bytes(PLAIN))})
    spec, records = scan(tmp_path)
    assert (spec.kind, spec.has_images, spec.has_texts) == ("webdataset", True, True)
    assert spec.extra == pa.schema(
        [
            ("price", pa.float64()),
            ("brand", pa.string()),
            ("size", pa.string()),
            ("tags", pa.string()),
            ("new", pa.bool_()),
        ]
    )
    assert spec.skipped == (Skipped(Skip.UNKNOWN_MEMBER, 1, f"{tmp_path}/{tar_name}#a/1.cls"),)
    assert [record.id for record in records] == ["a/1", "a/2"]
    assert records[0].image_uri == f"{tmp_path}/{tar_name}#a/1.jpg"
    assert (records[0].container, records[0].position) == (f"{tmp_path}/{tar_name}", 0)
    found = read(spec, records)
    assert found["a/1"].image == b"one" * 300
    assert (found["a/1"].text, found["a/2"].text) == ("红苹果", None)
    assert found["a/1"].extra == {"price": 1.0, "brand": "好", "size": '{"w": 1}', "tags": "[1]", "new": None}
    assert found["a/2"].extra == {"price": 2.5, "brand": None, "size": None, "tags": None, "new": True}
    assert reasons(found) == {}


def test_reading_in_small_chunks_in_any_order_gives_the_same(tmp_path: Path, tar_name: str) -> None:
    members = [(f"{number:05}.jpg", bytes([number % 256]) * (number * 7)) for number in range(300)]
    put(tmp_path, {tar_name: packed(tar_name, tar_bytes(members))})
    spec, records = scan(tmp_path)
    expected = {name.removesuffix(".jpg"): data for name, data in members}
    for order in (records, records[::-1]):
        assert {key: raw.image for key, raw in read(spec, order, chunk=32).items()} == expected


def test_two_threads_read_chunks_of_one_tar(tmp_path: Path, tar_name: str) -> None:
    members = [(f"{number:05}.jpg", bytes([number % 256]) * 5000) for number in range(400)]
    put(tmp_path, {tar_name: packed(tar_name, tar_bytes(members))})
    spec, records = scan(tmp_path)
    reader = sources.reader(spec)
    with ThreadPoolExecutor(2) as pool:
        chunks = list(pool.map(reader.read, [records[at : at + 16] for at in range(0, 400, 16)]))
    reader.close()
    assert [raw.image for chunk in chunks for raw in chunk] == [data for _name, data in members]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_chinese_names(tmp_path: Path, format: int) -> None:  # noqa: A002
    folder = "f" * 90 if format == tarfile.USTAR_FORMAT else "很长的文件夹名" * 20
    names = [f"{folder}/图{number}.v2.jpg" for number in range(3)] + ["./plain.jpg"]
    put(tmp_path, {"x.tar": tar_bytes([(name, name.encode()) for name in names], format)})
    spec, records = scan(tmp_path)
    assert [record.id for record in records] == [*(f"{folder}/图{number}" for number in range(3)), "plain"]
    found = read(spec, records[::-1])
    assert found[f"{folder}/图1"].image == names[1].encode()
    assert found["plain"].image == b"./plain.jpg"


def test_names_of_chinese_windows(tmp_path: Path) -> None:
    data = tar_bytes([("AAAA.jpg", b"x")], tarfile.USTAR_FORMAT)
    header = "鞋子".encode("gb18030") + data[4:512]
    checksum = sum(header[:148] + b" " * 8 + header[156:])
    put(tmp_path, {"x.tar": header[:148] + b"%06o\0 " % checksum + header[156:] + data[512:]})
    spec, records = scan(tmp_path)
    assert [record.id for record in records] == ["鞋子"]
    assert read(spec, records)["鞋子"].image == b"x"


def _signed(header: bytes) -> int:
    return sum(byte - 256 * (byte > 127) for byte in header)


@pytest.mark.parametrize(
    ("size", "checksum"),
    [
        (b"%11o\0" % 700, lambda header: b"%6o\0 " % sum(header)),
        (b"%o " % 700, lambda header: b"%o" % sum(header)),
        (b"\x80" + (700).to_bytes(11, "big"), lambda header: b"%06o\0 " % sum(header)),
        (b"%011o\0" % 700, lambda header: b"%06o\0 " % _signed(header)),
    ],
    ids=["blanks before", "blanks behind", "binary size", "signed checksum"],
)
def test_headers_of_other_writers(tmp_path: Path, size: bytes, checksum: Callable[[bytes], bytes]) -> None:
    data = tar_bytes([("图.jpg", bytes(range(7)) * 100), ("b.jpg", b"b")], tarfile.GNU_FORMAT)
    header = data[:124] + size.ljust(12, b"\0") + data[136:148] + b" " * 8 + data[156:512]
    put(tmp_path, {"x.tar": header[:148] + checksum(header).ljust(8, b"\0") + header[156:] + data[512:]})
    spec, records = scan(tmp_path)
    assert {key: raw.image for key, raw in read(spec, records).items()} == {"图": bytes(range(7)) * 100, "b": b"b"}


def test_the_first_plain_image_is_the_image(tmp_path: Path) -> None:
    put(tmp_path, {"x.tar": tar_bytes([("k.mask.png", b"mask"), ("k.jpg", b"image"), ("k.webp", b"other")])})
    spec, records = scan(tmp_path)
    assert read(spec, records)["k"].image == b"image"


def test_a_sample_without_its_image_or_with_bad_parts_fails_by_itself(tmp_path: Path, tar_name: str) -> None:
    members = [
        ("ok.jpg", b"x"),
        ("noimage.txt", b"text"),
        ("badtext.jpg", b"x"),
        ("badtext.txt", b"\xff\xff"),
        ("badjson.jpg", b"x"),
        ("badjson.json", b"{"),
        ("large.jpg", b"x" * 2000),
        ("last.jpg", b"last"),
    ]
    put(tmp_path, {tar_name: packed(tar_name, tar_bytes(members))})
    spec, records = scan(tmp_path, max_image_bytes=1000)
    found = read(spec, records)
    assert reasons(found) == {
        "noimage": "read/missing_image",
        "badtext": "text/bad_text",
        "badjson": "read/unreadable",
        "large": "read/too_large",
    }
    assert found["last"].image == b"last"


def test_column_types_fit_values_that_appear_late(tmp_path: Path, tar_name: str) -> None:
    def members(tar: str, last: object) -> list[tuple[str, bytes]]:
        values = [{"price": number, "count": number} for number in range(80)]
        values.append({"price": 2.5, "count": last, "late": True})
        return [
            member
            for number, value in enumerate(values)
            for member in ((f"{tar}{number}.jpg", b"x"), (f"{tar}{number}.json", json.dumps(value).encode()))
        ]

    for tar, last in (("a", 7), ("b", "many")):
        put(tmp_path, {tar + tar_name: packed(tar_name, tar_bytes(members(tar, last)))})
    spec, records = scan(tmp_path)
    assert spec.extra == pa.schema([("price", pa.float64()), ("count", pa.string()), ("late", pa.bool_())])
    found = read(spec, records)
    assert (len(found), reasons(found)) == (162, {})
    assert found["a80"].extra == {"price": 2.5, "count": "7", "late": True}
    assert found["b80"].extra == {"price": 2.5, "count": "many", "late": True}
    assert found["b3"].extra == {"price": 3.0, "count": "3", "late": None}


def test_only_the_record_fails_whose_value_no_longer_fits_its_column(tmp_path: Path) -> None:
    def write(count: str) -> None:
        members = [("a.jpg", b"x"), ("a.json", b'{"count":1}'), ("b.jpg", b"x"), ("b.json", count.encode())]
        put(tmp_path, {"x.tar": tar_bytes(members)})

    write('{"count":2}')
    spec, records = scan(tmp_path)
    write('{"count":"many"}')
    found = read(spec, records)
    assert reasons(found) == {"b": "read/unreadable"}
    assert found["b"].failure
    assert '"many" does not fit a column of int64' in found["b"].failure.detail


def test_keys_that_are_data_do_not_become_columns(tmp_path: Path) -> None:
    members = [("a.jpg", b"x"), ("a.json", json.dumps(dict.fromkeys(map(str, range(1001)), 1)).encode())]
    put(tmp_path, {"x.tar": tar_bytes(members)})
    with pytest.raises(SourceError, match="1,001 different keys"):
        scan(tmp_path)
    assert scan(tmp_path, extra_columns=("7",))[0].extra == pa.schema([("7", pa.int64())])


def test_captions_in_json(tmp_path: Path) -> None:
    members = [("1.jpg", b"x"), ("1.json", '{"caption": "鞋", "alt": "shoe"}'.encode()), ("2.jpg", b"y")]
    put(tmp_path, {"x.tar": tar_bytes(members)})
    spec, records = scan(tmp_path)
    assert (spec.details, spec.has_texts, spec.extra.names) == (TarDetails("caption"), True, ["alt"])
    assert [raw.text for raw in read(spec, records).values()] == ["鞋", None]
    spec, records = scan(tmp_path, text_column="alt", extra_columns=())
    assert [raw.text for raw in read(spec, records).values()] == ["shoe", None]
    with pytest.raises(SourceError, match="no key title; they have caption, alt"):
        scan(tmp_path, text_column="title")


def test_tars_of_texts_only(tmp_path: Path) -> None:
    put(tmp_path, {"x.tar": tar_bytes([("1.txt", "一".encode())])})
    spec, records = scan(tmp_path)
    assert (spec.has_images, spec.has_texts) == (False, True)
    assert (read(spec, records)["1"].text, reasons(read(spec, records))) == ("一", {})


def test_a_key_that_hanclip_writes_itself_is_carried_under_another_name(tmp_path: Path) -> None:
    put(tmp_path, {"x.tar": tar_bytes([("1.jpg", b"x"), ("1.json", b'{"id": 5, "n": 1, "caption": ["a", "b"]}')])})
    spec, records = scan(tmp_path)
    assert read(spec, records)["1"].extra == {"source_id": 5, "n": 1}
    assert spec.describe().endswith("carrying id as source_id, n")
    assert read(*scan(tmp_path, captions="joined"))["1"].text == "a b"
    assert scan(tmp_path, drop_columns=("caption", "id"))[0].extra.names == ["n"]
    with pytest.raises(SourceError, match="--captions rows is for tables"):
        scan(tmp_path, captions="rows")
    assert scan(tmp_path, extra_columns=("n",))[0].extra.names == ["n"]
    with pytest.raises(SourceError, match="no column m; it has id, n"):
        scan(tmp_path, extra_columns=("m",))


def test_a_truncated_tar_yields_the_samples_before_the_cut(tmp_path: Path, tar_name: str) -> None:
    data = tar_bytes([(f"{number}.jpg", bytes([number]) * 3000) for number in range(5)])
    cut = data[: 3 * (512 + 3072) + 512 + 1000]
    put(tmp_path, {tar_name: packed(tar_name, cut)})
    spec, records = scan(tmp_path)
    assert [record.id for record in records] == ["0", "1", "2", "3", f"{tar_name}#damaged"]
    assert len(spec.notes) == 1
    assert "is damaged" in spec.notes[0]
    found = read(spec, records)
    assert reasons(found) == {"3": "read/truncated", f"{tar_name}#damaged": "read/unreadable"}
    assert found["2"].image == bytes([2]) * 3000


def test_damage_in_the_middle_becomes_a_record(tmp_path: Path, tar_name: str) -> None:
    data = tar_bytes([(f"{number}.jpg", bytes([number]) * 3000) for number in range(5)])
    at = 2 * (512 + 3072)
    put(tmp_path, {f"s/{tar_name}": packed(tar_name, data[:at] + b"?" * 512 + data[at + 512 :])})
    spec, records = scan(tmp_path)
    damaged = f"s/{tar_name}#damaged"
    assert [record.id for record in records] == ["0", "1", damaged]
    found = read(spec, records)
    assert reasons(found) == {damaged: "read/unreadable"}
    assert found["1"].image == bytes([1]) * 3000
    assert found[damaged].failure
    assert "nothing after byte 7,168 could be read" in found[damaged].failure.detail
    assert (f"({len(data) - at:,} bytes)" in found[damaged].failure.detail) is tar_name.endswith(".tar")
    assert reasons(read(spec, records[2:])) == reasons(found)


def test_damage_in_the_middle_of_a_gzip_stream_becomes_a_record(tmp_path: Path) -> None:
    whole = bytearray(gzipped(tar_bytes([(f"{n}.jpg", os.urandom(3000)) for n in range(99)])))
    whole[len(whole) // 2 : len(whole) // 2 + 5000] = os.urandom(5000)
    put(tmp_path, {"x.tgz": bytes(whole)})
    spec, records = scan(tmp_path)
    assert records[-1].id == "x.tgz#damaged"
    found = read(spec, records)
    assert reasons(found)["x.tgz#damaged"] == "read/unreadable"


def test_a_gzip_stream_that_ends_early(tmp_path: Path) -> None:
    whole = gzipped(tar_bytes([(f"{number}.jpg", bytes(range(256)) * 40) for number in range(9)]))
    put(tmp_path, {"x.tar.gz": whole[: len(whole) // 2]})
    spec, records = scan(tmp_path)
    assert spec.notes
    failed = reasons(read(spec, records))
    assert failed.pop("x.tar.gz#damaged") == "read/unreadable"
    assert set(failed.values()) <= {"read/truncated"}


def test_a_file_that_is_not_a_tar_is_refused(tmp_path: Path) -> None:
    put(tmp_path, {"x.tar": b"<html>not found</html>" * 100})
    with pytest.raises(SourceError, match=r"x\.tar cannot be read as a tar"):
        scan(tmp_path)


def test_a_tar_that_was_rewritten_since_planning_is_detected(tmp_path: Path, tar_name: str) -> None:
    put(tmp_path, {tar_name: packed(tar_name, tar_bytes([("a.jpg", b"a"), ("b.jpg", b"b"), ("c.jpg", b"c")]))})
    spec, records = scan(tmp_path)
    put(tmp_path, {tar_name: packed(tar_name, tar_bytes([("a.jpg", b"a"), ("x.jpg", b"b"), ("c.png", b"c")]))})
    found = read(spec, records)
    assert reasons(found) == {"b": "read/changed", "c": "read/changed"}
    (tmp_path / tar_name).unlink()
    assert set(reasons(read(spec, records)).values()) == {"read/not_found"}


def test_fingerprints_change_with_the_tar_and_differ_within_it(tmp_path: Path) -> None:
    put(tmp_path, {"x.tar": tar_bytes([("a.jpg", b"a"), ("b.jpg", b"b")])})
    first = [record.source_fingerprint for record in scan(tmp_path)[1]]
    assert [record.source_fingerprint for record in scan(tmp_path)[1]] == first
    put(tmp_path, {"x.tar": tar_bytes([("a.jpg", b"a"), ("b.jpg", b"bb"), ("c.jpg", b"")])})
    assert len({*first, *(record.source_fingerprint for record in scan(tmp_path)[1])}) == 5


def test_a_limit_ends_the_listing(tmp_path: Path) -> None:
    put(tmp_path, {f"{tar}.tar": tar_bytes([(f"{tar}-{n}.jpg", b"") for n in range(5)]) for tar in range(4)})
    assert [record.id for record in scan(tmp_path, limit=7)[1]][-1] == "1-1"
    assert len(scan(tmp_path / "{0..2}.tar")[1]) == 15


def test_tars_in_a_bucket_are_read_by_ranges(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    base = s3.bucket()
    members = [(f"{number:03}.jpg", bytes([number]) * 20_000) for number in range(100)]
    storage.overwrite(f"{base}/x.tar", tar_bytes(members))
    storage.overwrite(f"{base}/y.tgz", gzipped(tar_bytes([("z.jpg", b"z")])))
    proxy = FaultyProxy(s3.endpoint)
    proxy.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    spec, records = scan(base, retry_timeout_s=5)
    proxy.requests.clear()
    proxy.faults.append(503)
    found = read(spec, records[10:60])
    assert [raw.image for raw in found.values()] == [data for _name, data in members[10:60]]
    assert len(proxy.requests) == 2
    assert read(spec, records)["z"].image == b"z"
    proxy.stop()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    impatient = replace(spec, config=spec.config.model_copy(update={"retry_timeout_s": 0}))
    with pytest.raises(UnavailableError):
        sources.reader(impatient).read(records)
