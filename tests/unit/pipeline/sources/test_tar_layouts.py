"""Tars of other writers: concatenated, with links, with samples in pieces, and with members of other kinds."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.sources import reopen
from pipeline.vocabulary import Skip
from tests.fixtures.sources import gzipped, put, read, reasons, scan, tar_bytes

A = tar_bytes([("a.jpg", b"A" * 900), ("a.txt", "甲".encode())])
B = tar_bytes([("b.jpg", b"B" * 9000), ("b.txt", "乙".encode())])


def linked(*members: tuple[str, bytes | str, bytes]) -> bytes:
    """A tar of (name, content or link target, type)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if isinstance(content, str):
                info.linkname = content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        A + B,
        A + bytes(512 * 41) + B + b"trailing garbage",
        gzipped(A + B),
        gzipped(A) + gzipped(B),
        gzipped(A) + gzipped(B) + b"garbage",
        A.rstrip(b"\0") + bytes(-len(A.rstrip(b"\0")) % 512) + bytes(512) + B,
    ],
    ids=["plain", "padded", "gzip", "gzip members", "garbage behind", "one zero block"],
)
def test_concatenated_tars_are_read_to_their_end(tmp_path: Path, data: bytes) -> None:
    put(tmp_path, {"x.tar": data})
    spec, records = scan(tmp_path)
    assert (spec.damage, spec.notes) == ({}, ())
    found = read(spec, records[::-1])
    assert {key: (raw.image, raw.text) for key, raw in found.items()} == {
        "a": (b"A" * 900, "甲"),
        "b": (b"B" * 9000, "乙"),
    }


@pytest.mark.parametrize("behind", [b"", b"garbage" * 300, bytes(5000), b"x" * 512])
def test_what_is_no_tar_behind_the_end_of_one_is_ignored(tmp_path: Path, behind: bytes) -> None:
    put(tmp_path, {"x.tar": A + behind})
    spec, records = scan(tmp_path)
    assert ([record.id for record in records], spec.damage) == (["a"], {})


def test_damage_in_a_further_tar_is_a_record(tmp_path: Path) -> None:
    put(tmp_path, {"x.tar": A + B[:2000]})
    spec, records = scan(tmp_path)
    assert reasons(read(spec, records)) == {"b": "read/truncated", "x.tar#damaged": "read/unreadable"}


def test_equal_keys_on_both_sides_of_a_joint_are_two_records(tmp_path: Path) -> None:
    put(tmp_path, {"x.tar": A + A})
    assert [record.id for record in scan(tmp_path)[1]] == ["a", "a"]


def test_links_to_members_of_the_tar_are_read(tmp_path: Path) -> None:
    files = (tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE)
    data = linked(
        ("d/late.jpg", "../d/a.jpg", files[2]),
        ("d/late.txt", b"late", files[0]),
        ("d/a.jpg", b"A" * 900, files[0]),
        ("d/a.txt", "甲".encode(), files[0]),
        ("e/hard.jpg", "./d/a.jpg", files[1]),
        ("e/both.jpg", "hard.jpg", files[2]),
        ("e/both.txt", "d/a.txt", files[1]),
        ("e/none.jpg", "/abs/x.jpg", files[2]),
        ("e/loop.jpg", "loop.jpg", files[2]),
        ("e/json.jpg", b"J", files[0]),
        ("e/json.json", "d/a.txt", files[1]),
    )
    put(tmp_path, {"x.tar": data})
    spec, records = scan(tmp_path)
    found = read(spec, records)
    assert reasons(found) == {}
    assert {key: (raw.image, raw.text) for key, raw in found.items()} == {
        "d/late": (b"A" * 900, "late"),
        "d/a": (b"A" * 900, "甲"),
        "e/hard": (b"A" * 900, None),
        "e/both": (b"A" * 900, "甲"),
        "e/json": (b"J", None),
    }
    assert records[0].image_uri == f"{tmp_path}/x.tar#d/a.jpg@{records[1].position}+1536"
    assert [(one.kind, one.count) for one in spec.skipped] == [(Skip.UNFOLLOWED_LINK, 3)]
    again = reopen("webdataset", spec.config, records[0].container, True, True)
    assert [raw.image for raw in again.read(records)] == [raw.image for raw in found.values()]
    put(tmp_path, {"x.tar.gz": gzipped(data)})
    spec, records = scan(tmp_path / "x.tar.gz")
    assert [(one.kind, one.count) for one in spec.skipped] == [(Skip.UNFOLLOWED_LINK, 7)]
    assert read(spec, records)["d/late"].failure
    assert read(spec, records)["d/a"].text == "甲"


def test_a_link_whose_target_moved_is_detected(tmp_path: Path) -> None:
    members = [("a.jpg", b"A" * 900, tarfile.REGTYPE), ("b.jpg", "a.jpg", tarfile.LNKTYPE)]
    put(tmp_path, {"x.tar": linked(*members)})
    spec, records = scan(tmp_path)
    put(tmp_path, {"x.tar": linked(("c.jpg", b"C" * 900, tarfile.REGTYPE), *members[1:])})
    assert reasons(read(spec, records)) == {"a": "read/changed", "b": "read/changed"}
    put(tmp_path, {"x.tar": linked(members[0], ("c.jpg", "a.jpg", tarfile.LNKTYPE))})
    assert reasons(read(spec, records)) == {"b": "read/changed"}


def test_parts_of_a_sample_that_are_apart_are_joined(tmp_path: Path) -> None:
    names = ("a.jpg", "b.jpg", "a.txt", "b.txt", "a.json", "b.json")
    put(tmp_path, {"x.tar": tar_bytes([(name, b'{"n": 1}' if "json" in name else name.encode()) for name in names])})
    spec, records = scan(tmp_path)
    assert ([record.id for record in records], spec.texts) == (["a", "b"], 2)
    found = read(spec, records, chunk=1)
    assert {key: (raw.image, raw.text, raw.extra) for key, raw in found.items()} == {
        "a": (b"a.jpg", "a.txt", {"n": 1}),
        "b": (b"b.jpg", "b.txt", {"n": 1}),
    }
    small = spec.config.model_copy(update={"max_image_bytes": 4})
    assert set(reasons(read(scan(*spec.config.uris, **small.model_dump(exclude={"uris"}))[0], records)).values()) == {
        "read/too_large"
    }


def test_parts_that_are_apart_in_a_compressed_tar_are_named(tmp_path: Path) -> None:
    data = tar_bytes([(name, name.encode()) for name in ("a.jpg", "b.jpg", "a.txt", "b.txt")])
    put(tmp_path, {"x.tar": gzipped(data)})
    with pytest.raises(SourceError, match=r"the members of a are not next to each other.*--sort=name"):
        scan(tmp_path)
    put(tmp_path, {"y.tar": tar_bytes([("c.jpg", b"c")])})
    spec, records = scan(tmp_path)
    assert reasons(read(spec, records)) == {"x.tar#damaged": "read/unreadable"}


def test_members_that_are_no_files_are_counted(tmp_path: Path) -> None:
    data = linked(
        ("a.jpg", b"A", tarfile.REGTYPE),
        ("pipe.jpg", "", tarfile.FIFOTYPE),
        ("folder.jpg", "", tarfile.DIRTYPE),
        ("photos.v2", "", tarfile.DIRTYPE),
        ("a.jpg", b"", tarfile.REGTYPE),
        ("noname", b"x", tarfile.REGTYPE),
        (".hidden.jpg", b"x", tarfile.REGTYPE),
    )
    put(tmp_path, {"x.tar": data})
    spec, records = scan(tmp_path)
    assert [record.id for record in records] == ["a"]
    counts = {one.kind: (one.count, one.example.partition("#")[2]) for one in spec.skipped}
    assert counts == {
        Skip.SPECIAL_MEMBER: (2, "pipe.jpg"),
        Skip.NO_SUFFIX: (1, "noname"),
        Skip.HIDDEN: (1, ".hidden.jpg"),
    }


def test_tars_without_samples_are_named_with_what_they_hold(tmp_path: Path) -> None:
    put(tmp_path, {"x.tar": tar_bytes([("a.txt.gz", b"1"), ("b.cls", b"2")])})
    with pytest.raises(
        SourceError, match=r"no samples .*, only 2 members of an unknown kind, such as .*x.tar#a.txt.gz"
    ):
        scan(tmp_path)


def test_a_sparse_member_is_counted_and_the_next_one_read(tmp_path: Path) -> None:
    headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": "5000", "GNU.sparse.map": "0,512"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, pax in (("hole.jpg", headers), ("b.jpg", {"comment": "x"})):
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = 512, pax
            tar.addfile(info, io.BytesIO(name.encode().ljust(512)))
    put(tmp_path, {"x.tar": buffer.getvalue()})
    spec, records = scan(tmp_path)
    assert [(one.kind, one.count) for one in spec.skipped] == [(Skip.SPECIAL_MEMBER, 1)]
    assert (read(spec, records)["b"].image or b"").startswith(b"b.jpg")
