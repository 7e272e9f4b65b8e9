"""Containers that cannot be read: each is one failed record, and the others are read."""

from __future__ import annotations

import io
import lzma
import os
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import ForbiddenError, SourceError, UnavailableError
from pipeline.records import Record
from pipeline.sources import SourceSpec
from pipeline.sources.containers.damage import is_damage
from tests.fixtures.sources import gzipped, put, read, reasons, scan, tar_bytes

HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n" * 20
NOISE = random.Random(7).randbytes(4096)
JSONL = b'{"id": "a", "text": "\xe7\xba\xa2"}\n{"id": "b", "text": "\xe7\xbb\xbf"}\n'


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": ["p"], "text": ["蓝"]}), sink)
    return sink.getvalue()


GOOD_TAR = tar_bytes([("a.txt", "一".encode()), ("b.txt", "二".encode())])
BAD_TARS = {
    "empty.tar": b"",
    "html.tar": HTML,
    "noise.tar": NOISE,
    "short.tar": GOOD_TAR[:300],
    "html.tar.gz": HTML,
    "noise.tgz": NOISE,
    "cut.tar.gz": gzipped(GOOD_TAR)[:20],
}
BAD_TABLES = {
    "empty.jsonl": b"",
    "empty.jsonl.gz": b"",
    "empty.parquet": b"",
    "cut.parquet": parquet()[:-20],
    "html.parquet": HTML,
    "names.parquet": parquet().replace(b"text", b"\xb2ext"),
    "cut.jsonl.gz": gzipped(JSONL)[:30],
    "noise.csv": NOISE,
    "html.csv": HTML,
    "zeros.csv": bytes(4096),
    "html.jsonl": HTML,
    "noise.jsonl.gz": NOISE,
}


@pytest.mark.parametrize(
    ("good", "bad", "ids"),
    [
        ({"0.tar": GOOD_TAR, "1.tgz": gzipped(tar_bytes([("c.txt", b"3")]))}, BAD_TARS, ["a", "b", "c"]),
        ({"0.jsonl": JSONL, "1.parquet": parquet()}, BAD_TABLES, ["a", "b", "p"]),
    ],
    ids=["tars", "tables"],
)
def test_each_bad_container_is_one_quarantined_record(
    tmp_path: Path, good: dict[str, bytes], bad: dict[str, bytes], ids: list[str]
) -> None:
    put(tmp_path, {**good, **{f"x/{name}": data for name, data in bad.items()}})
    spec, records = scan(tmp_path, max_bad_containers=0.95)
    found = read(spec, records)
    assert sorted(set(found) - set(reasons(found))) == ids
    assert reasons(found) == {f"x/{name}#damaged": "read/unreadable" for name in bad}
    for name in bad:
        failure = found[f"x/{name}#damaged"].failure
        assert failure
        assert f"{tmp_path}/x/{name}" in failure.detail
    assert f"{len(bad)} of {len(bad) + 2} ta" in spec.notes[-1]
    with pytest.raises(SourceError, match=rf"(?s){len(bad)} of .* larger share than 50%.*--max-bad-containers 0\.\d\d"):
        scan(tmp_path)
    for name in good:
        (tmp_path / name).unlink()
    with pytest.raises(SourceError, match=str(tmp_path)):
        scan(tmp_path, max_bad_containers=1)


def test_a_bad_container_becomes_its_records_once_it_can_be_read(tmp_path: Path) -> None:
    put(tmp_path, {"0.tar": GOOD_TAR, "1.tar": b""})
    first = scan(tmp_path)[1]
    assert scan(tmp_path)[1] == first
    put(tmp_path, {"1.tar": HTML})
    assert scan(tmp_path)[1][-1] != first[-1]
    put(tmp_path, {"1.tar": tar_bytes([("c.txt", b"3")])})
    spec, records = scan(tmp_path)
    assert ([record.id for record in records], spec.damage) == (["a", "b", "c"], {})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "1.jsonl",
            b"".join(b'{"id": "%d", "text": "x"}\n' % n for n in range(5)) + b'{"id": \n{"id": "9", "text": "x"}',
        ),
        ("1.csv", b"id,text\n" + b"".join(b"%d,x\n" % n for n in range(5)) + b'9,"open\n10,x\n'),
        ("1.csv.xz", lzma.compress(b"id,text\n" + b"".join(b"%d,x\n" % n for n in range(5)) + b"6,x,y\n7,x\n")),
    ],
)
def test_the_rows_before_damage_are_records(tmp_path: Path, name: str, content: bytes) -> None:
    put(tmp_path, {"0.jsonl": JSONL, name: content})
    spec, records = scan(tmp_path)
    found = read(spec, records)
    assert (list(found), reasons(found)) == (
        ["a", "b", *"01234", f"{name}#damaged"],
        {f"{name}#damaged": "read/unreadable"},
    )
    failure = found[f"{name}#damaged"].failure
    assert failure
    assert "Nothing from row 5 on was read." in failure.detail
    with pytest.raises(SourceError, match="Row 5 of"):
        scan(tmp_path / name)


def test_rows_before_the_damage_of_a_gzipped_table_are_records(tmp_path: Path) -> None:
    lines = b"".join(b'{"id": "%d", "text": "%s"}\n' % (n, os.urandom(40).hex().encode()) for n in range(20_000))
    put(tmp_path, {"0.jsonl": JSONL, "1.jsonl.gz": gzipped(lines)[:-200_000]})
    spec, records = scan(tmp_path)
    found = read(spec, records)
    rows = len(records) - 3
    assert 8192 <= rows < 20_000
    assert reasons(found) == {"1.jsonl.gz#damaged": "read/unreadable"}
    assert (records[-1].position, found[str(rows - 1)].failure) == (rows, None)


def test_damage_of_a_file_whose_name_is_not_utf8(tmp_path: Path) -> None:
    put(tmp_path, {"0.tar": GOOD_TAR, os.fsdecode("红.tar".encode("gb18030")): HTML})
    for unique_ids in (None, "container"):
        spec, records = scan(tmp_path, unique_ids=unique_ids)
        assert reasons(read(spec, records)) == {"红.tar#damaged": "read/unreadable"}


def test_a_first_bad_container_does_not_use_up_the_limit(tmp_path: Path) -> None:
    put(tmp_path, {"0.tar": b"", "1.tar": GOOD_TAR})
    assert [record.id for record in scan(tmp_path, limit=1)[1]] == ["a"]


def test_a_text_table_without_rows_is_no_damage(tmp_path: Path) -> None:
    put(tmp_path, {"0.jsonl.gz": gzipped(b""), "1.jsonl": JSONL})
    spec, records = scan(tmp_path)
    assert ([record.id for record in records], spec.damage) == (["a", "b"], {})


class RefusingStore:
    """Opens every file but one, for which it raises `error`."""

    def __init__(self, error: Exception, there: Callable[..., object]) -> None:
        self._error, self._there = error, there

    def __call__(self, uri: str, *args: object) -> object:
        if uri.endswith("1.tar"):
            raise self._error
        return self._there(uri, *args)


def test_a_refused_container_is_quarantined_and_a_store_that_is_down_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, {"0.tar": GOOD_TAR, "1.tar": GOOD_TAR})
    there = storage.open_seekable
    monkeypatch.setattr("pipeline.storage.open_seekable", RefusingStore(ForbiddenError("no access"), there))
    spec, records = scan(tmp_path)
    assert reasons(read(spec, records)) == {"1.tar#damaged": "read/forbidden"}
    monkeypatch.setattr("pipeline.storage.open_seekable", RefusingStore(UnavailableError("down"), there))
    with pytest.raises(UnavailableError):
        scan(tmp_path)


@pytest.mark.parametrize(
    ("id_", "container", "text_uri", "expected"),
    [
        ("s/x.tar#damaged", "s3://b/s/x.tar", None, True),
        ("x.tar#damaged", "x.tar", None, True),
        ("tar#damaged", "s3://b/s/x.tar", None, False),
        ("#damaged", "s3://b/x.jsonl", None, False),
        ("x.tar#damaged", None, "/d/x.tar#damaged", False),
        ("x.tar#damaged1", "/d/x.tar", None, False),
    ],
)
def test_ids_of_damage(id_: str, container: str | None, text_uri: str | None, expected: bool) -> None:
    assert is_damage(Record(id_, None, text_uri, container, 0, None, "f")) is expected


def test_a_record_of_an_earlier_plan_fails_without_the_scan_that_found_it() -> None:
    spec = SourceSpec("webdataset", SourceConfig(), False, True, pa.schema([]), 1)
    record = Record("x.tar#damaged", None, None, "/d/x.tar", 7168, 10, "f")
    failure = read(spec, [record])["x.tar#damaged"].failure
    assert failure
    assert "from position 7,168 on" in failure.detail


def test_a_damaged_row_group_costs_its_own_rows_whatever_is_read_together(tmp_path: Path) -> None:
    sink = io.BytesIO()
    ids = [f"{n:03}" for n in range(300)]
    table = pa.table({"id": ids, "text": ["x"] * 300, "note": [NOISE[n : n + 40].hex() for n in range(300)]})
    pq.write_table(table, sink, row_group_size=100, compression="zstd", use_dictionary=False)
    data, file = bytearray(sink.getvalue()), pq.ParquetFile(sink)
    at = file.metadata.row_group(1).column(2).data_page_offset
    data[at + 200 : at + 300] = NOISE[:100]
    put(tmp_path, {"x.parquet": bytes(data)})
    spec, records = scan(tmp_path)
    assert spec.damage == {}
    for chunk in (7, 64, 1000):
        assert list(reasons(read(spec, records, chunk))) == ids[100:200]
