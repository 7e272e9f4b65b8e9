"""Compressed tars and tables are read by what they hold, whatever their names say."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import sources
from pipeline.sources import is_sequential, reopen
from pipeline.sources.containers.compression import SUFFIXES
from pipeline.sources.webdataset.tar import TAR_SUFFIXES
from tests.fixtures.sources import gzipped, put, read, reasons, scan, tar_bytes

MEMBERS = [(f"{n}.jpg", bytes([n]) * 3000) for n in range(20)]


def zstd(data: bytes) -> bytes:
    """Two frames behind one that is skipped, as pzstd writes them."""
    half = len(data) // 2
    codec = pa.Codec("zstd")
    frames = (codec.compress(part, asbytes=True) for part in (data[:half], data[half:]))
    return b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd" + b"".join(frames)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes,
    ".tar.gz": gzipped,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": zstd,
}


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("named", PACKERS)
def test_a_tar_is_read_by_its_content(tmp_path: Path, packed: str, named: str) -> None:
    put(tmp_path, {f"x{named}": PACKERS[packed](tar_bytes(MEMBERS))})
    spec, records = scan(tmp_path)
    assert [is_sequential(spec, record.container) for record in records] == [packed != ".tar"] * 20
    found = read(spec, records, chunk=8)
    assert {f"{key}.jpg": raw.image for key, raw in found.items()} == dict(MEMBERS)
    again = reopen("webdataset", spec.config, records[0].container, True, False)
    assert [raw.image for raw in again.read(records[7:9])] == [MEMBERS[7][1], MEMBERS[8][1]]
    again.close()


@pytest.mark.parametrize("packed", list(PACKERS)[1:])
def test_damage_of_a_compressed_tar_is_one_record(tmp_path: Path, packed: str) -> None:
    whole = PACKERS[packed](tar_bytes([(f"{n}.jpg", bytes(range(256)) * 60) for n in range(9)]))
    put(tmp_path, {f"0{packed}": PACKERS[packed](tar_bytes([("a.jpg", b"a")])), f"1{packed}": whole[: len(whole) // 2]})
    spec, records = scan(tmp_path)
    failed = reasons(read(spec, records))
    assert failed.pop(f"1{packed}#damaged") == "read/unreadable"
    assert set(failed.values()) <= {"read/truncated"}


@pytest.mark.parametrize("suffix", TAR_SUFFIXES)
def test_every_usual_name_of_a_tar_is_found(tmp_path: Path, suffix: str) -> None:
    put(tmp_path, {f"x{suffix.upper()}": tar_bytes([("a.jpg", b"a")])})
    assert len(scan(tmp_path)[1]) == 1


@pytest.mark.parametrize("packed", PACKERS)
def test_a_table_is_read_by_its_content(tmp_path: Path, packed: str) -> None:
    put(tmp_path, {"x.csv.gz": PACKERS[packed]("id,text\n1,红\n2,绿\n".encode()), "y.csv": b"id,text\n3,x\n"})
    spec, records = scan(tmp_path)
    assert [raw.text for raw in read(spec, records).values()] == ["红", "绿", "x"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_usual_name_of_a_compressed_table_is_found(tmp_path: Path, suffix: str) -> None:
    put(tmp_path, {f"x.JSONL{suffix}": b'{"text": "x"}', f"y.tsv{suffix}": b"text\tn\ny\t1\n"})
    assert len(scan(tmp_path)[1]) == 2


def test_which_containers_are_read_from_their_beginning(tmp_path: Path) -> None:
    put(tmp_path, {"b.csv": b"text\nx\n", "c.jsonl.gz": gzipped(b'{"text": "y"}')})
    spec, records = scan(tmp_path)
    assert [is_sequential(spec, record.container) for record in records] == [True, True]
    assert not is_sequential(spec, "/d/b.parquet")
    assert not is_sequential(spec, None)
    assert sources.holds_shards(scan(put(tmp_path / "t", {"a.tar": tar_bytes(MEMBERS[:1])}))[0])
    assert not sources.holds_shards(spec)
