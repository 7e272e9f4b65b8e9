"""Buckets with keys that clients clean: every object that can be read is read, and none costs the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import storage
from pipeline.errors import NotFoundError, TooLargeError
from pipeline.stats import Skipped
from pipeline.vocabulary import Skip
from tests.fixtures.servers.odd_bucket import odd_bucket
from tests.fixtures.sources import put, read, scan

ODD = ["a//two.jpg", "a/../b.jpg", "a/./c.jpg", "/lead.jpg", "a/ctl\x01.jpg", "a/nl\n.jpg", "a/tab\t.jpg", "a/\x7f.jpg"]
PLAIN = ["a/ok1.jpg", "a/ok2.jpg", "a/b c+#?%20é.jpg", "trail./x.jpg", "[1] *.jpg"]


@pytest.fixture
def objects() -> dict[str, bytes]:
    return {key: key.encode() for key in ODD + PLAIN}


def test_every_key_is_listed_and_read(objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    objects |= {"folder.jpg/": b"", "a/": b"", "a/.hidden/x.jpg": b"x", "a/up.jpg#1": b"x", "a//two.txt": "二".encode()}
    with odd_bucket(objects, monkeypatch) as base:
        spec, records = scan(base)
        assert sorted(record.id for record in records) == sorted(ODD + PLAIN)
        found = read(spec, records)
        assert {key: raw.image for key, raw in found.items()} == {key: key.encode() for key in ODD + PLAIN}
        assert found["a//two.jpg"].text == "二"
        assert spec.skipped == (
            Skipped(Skip.HIDDEN, 1, f"{base}/a/.hidden/x.jpg"),
            Skipped(Skip.UNFINISHED, 1, f"{base}/a/up.jpg#1"),
            Skipped(Skip.FOLDER_MARKER, 2, f"{base}/a/"),
        )
        assert scan(f"{base}/a//two.jpg")[1][0].image_uri == f"{base}/a//two.jpg"
        assert [record.id for record in scan(f"{base}/a", limit=2)[1]] == ["../b.jpg", "./c.jpg"]


def test_an_object_with_an_odd_key_is_read_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    with odd_bucket({"a//b": b"0123456789"}, monkeypatch) as base:
        uri = f"{base}/a//b"
        assert storage.stat(uri) == storage.ObjectInfo(uri, 10, "e10-525")
        assert storage.list_objects(f"{base}/a").__next__() == storage.stat(uri)
        assert storage.read_range(uri, 3, 4) == b"3456"
        with pytest.raises(TooLargeError, match="a//b has 10 bytes"):
            storage.read_bytes(uri, max_bytes=9)
        with pytest.raises(NotFoundError, match=r"a//c does not exist"):
            storage.read_bytes(f"{base}/a//c")


def test_a_listing_of_many_pages_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = {f"d/{number:05}{'//' * (number % 50 == 7)}x.jpg": b"" for number in range(2500)}
    with odd_bucket(objects, monkeypatch) as base:
        assert [info.uri for info in storage.list_objects(f"{base}/d")] == [f"{base}/{key}" for key in sorted(objects)]


def test_pattern_characters_in_names_that_exist_are_ordinary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = [
        "photos [2024]/1.jpg",
        "photos [2024]/2.png",
        "{x}/a.jpg",
        "{x}/b.jpg",
        "x/c.jpg",
        "photos 2/d.jpg",
        "y*/e.jpg",
    ]
    put(tmp_path, dict.fromkeys(names, b""))
    with odd_bucket(dict.fromkeys(names, b""), monkeypatch) as bucket:
        for base in (bucket, str(tmp_path)):
            for address, ids in {
                "photos [2024]/": ["1.jpg", "2.png"],
                "photos [2024]/*.jpg": ["1.jpg"],
                "photos [2024]/{1,1}.jpg": ["1.jpg"],
                "{x}": ["a.jpg", "b.jpg"],
                "{x}/[ab].jpg": ["a.jpg", "b.jpg"],
                "{x,photos 2}/*.jpg": ["photos 2/d.jpg", "x/c.jpg"],
                "photos [2]/*": ["photos 2/d.jpg"],
                "y*/": ["e.jpg"],
                "*/[ce].jpg": ["x/c.jpg", "y*/e.jpg"],
            }.items():
                assert sorted(record.id for record in scan(f"{base}/{address}")[1]) == ids, address
