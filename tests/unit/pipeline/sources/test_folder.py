"""Folder sources of images and texts, and detection of a source's format."""

from __future__ import annotations

import errno
import os
import pickle
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ForbiddenError, SourceError, UnavailableError
from pipeline.vocabulary import Skip
from tests.fixtures.sources import put, read, reasons, scan


def test_images_are_found_by_suffix_and_paired_with_their_texts(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "a/1.jpg": b"one",
            "a/1.txt": "红苹果\n",
            "2.PNG": b"two",
            "b c/3.WebP": b"three",
            "b c/3.txt": "\ufeff连衣裙",
            "4.avif": b"four",
            "4.txt": "书包".encode("gb18030"),
            "README.md": "no image",
            "1.txt": "beside nothing",
            ".hidden/5.jpg": b"",
        },
    )
    spec, records = scan(tmp_path)
    assert (spec.kind, spec.has_images, spec.has_texts, spec.extra.names) == ("folder", True, True, [])
    assert sorted(record.id for record in records) == ["2.PNG", "4.avif", "a/1.jpg", "b c/3.WebP"]
    found = read(spec, records)
    assert {key: (raw.image, raw.text) for key, raw in found.items()} == {
        "a/1.jpg": (b"one", "红苹果"),
        "2.PNG": (b"two", None),
        "b c/3.WebP": (b"three", "连衣裙"),
        "4.avif": (b"four", "书包"),
    }
    first = found["a/1.jpg"].record
    assert (first.image_uri, first.text_uri) == (f"{tmp_path}/a/1.jpg", f"{tmp_path}/a/1.txt")
    assert (first.size_bytes, first.container, first.position) == (3 + len("红苹果\n".encode()), None, None)


def test_a_fingerprint_changes_with_the_image_and_with_its_text(tmp_path: Path) -> None:
    put(tmp_path, {"1.jpg": b"one", "1.txt": "a"})
    marks = [scan(tmp_path)[1][0].source_fingerprint]
    put(tmp_path, {"1.txt": "bb"})
    marks.append(scan(tmp_path)[1][0].source_fingerprint)
    put(tmp_path, {"1.jpg": b"other"})
    marks.append(scan(tmp_path)[1][0].source_fingerprint)
    assert len(set(marks)) == 3
    assert scan(tmp_path)[1][0].source_fingerprint == marks[2]


def test_a_folder_of_images_has_no_texts(tmp_path: Path) -> None:
    spec, _records = scan(put(tmp_path, {"1.jpg": b"one"}))
    assert (spec.has_images, spec.has_texts) == (True, False)
    assert spec.describe() == f"1 images from a folder source ({tmp_path})"


def test_a_folder_of_texts_has_no_images(tmp_path: Path) -> None:
    spec, records = scan(put(tmp_path, {"a/1.txt": "一", "2.txt": "二"}))
    assert (spec.has_images, spec.has_texts) == (False, True)
    found = read(spec, records)
    assert {key: (raw.image, raw.text, raw.failure) for key, raw in found.items()} == {
        "a/1.txt": (None, "一", None),
        "2.txt": (None, "二", None),
    }


def test_an_unreadable_record_does_not_affect_the_others(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"gone.jpg": b"x", "large.jpg": b"x" * 50, "bad.jpg": b"x", "bad.txt": b"\xff\xfe\xff", "ok.jpg": b"ok"},
    )
    spec, records = scan(tmp_path, max_image_bytes=20)
    (tmp_path / "gone.jpg").unlink()
    found = read(spec, records)
    assert reasons(found) == {
        "gone.jpg": "read/not_found",
        "large.jpg": "read/too_large",
        "bad.jpg": "text/bad_text",
    }
    assert found["ok.jpg"].image == b"ok"


def test_ids_are_relative_to_the_given_address(tmp_path: Path) -> None:
    put(tmp_path, {"x/a/1.jpg": b"1", "y/2.jpg": b"2"})
    assert [record.id for record in scan(tmp_path / "x", tmp_path / "y")[1]] == ["a/1.jpg", "2.jpg"]
    assert [record.id for record in scan(tmp_path / "*" / "**" / "*.jpg")[1]] == ["x/a/1.jpg", "y/2.jpg"]
    assert [record.id for record in scan(tmp_path / "{x,y}")[1]] == ["a/1.jpg", "2.jpg"]
    assert [record.id for record in scan(tmp_path / "x" / "a" / "1.jpg")[1]] == ["1.jpg"]


def test_a_limit_ends_the_listing(tmp_path: Path) -> None:
    put(tmp_path, {f"{number}.jpg": b"" for number in range(30)})
    assert len(scan(tmp_path, limit=7)[1]) == 7


def test_files_below_the_output_folder_are_skipped(tmp_path: Path) -> None:
    put(tmp_path, {"data/1.jpg": b"one", "data/out/embeddings/x.parquet": b"", "data/out/2.jpg": b"two"})
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for source in ("data", "data/*", "data/**/*.jpg", "link"):
        for out in ("data/out", "link/out/"):
            spec, records = scan(tmp_path / source, out=f"{tmp_path}/{out}")
            assert (spec.kind, {record.id.rpartition("/")[2] for record in records}) == ("folder", {"1.jpg"})
    assert len(scan(tmp_path / "data", out=f"{tmp_path}/data/ou", format="folder")[1]) == 2


def test_a_source_inside_the_output_folder_is_refused_with_the_cure(tmp_path: Path) -> None:
    put(tmp_path, {"data/1.jpg": b"one"})
    for out in (f"{tmp_path}/data/", tmp_path):
        with pytest.raises(SourceError, match=r"hanclip's own\. Choose an OUT outside the source"):
            scan(tmp_path / "data", out=out)


def test_the_description_counts_images_with_a_text(tmp_path: Path) -> None:
    put(tmp_path, {"1.jpg": b"one", "1.txt": "a", "2.jpg": b"two"})
    assert scan(tmp_path)[0].describe().startswith("2 images, 1 of them with a text, from a folder")
    put(tmp_path, {"2.txt": "b"})
    assert scan(tmp_path)[0].describe().startswith("2 image-text pairs from")


def test_names_that_are_not_utf_8_are_decoded_and_read(tmp_path: Path) -> None:
    gbk = "照片".encode("gbk")
    for name, data in {
        b"/" + gbk + b".jpg": b"gbk",
        b"/" + gbk + b".txt": "文".encode(),
        b"/100%\xff.jpg": b"neither",
        "/相册/".encode() + gbk + b".jpg": b"in a folder",
        "/重/照片.jpg".encode(): b"utf-8",
        "/重/".encode() + gbk + b".jpg": b"the same name in another encoding",
    }.items():
        path = bytes(tmp_path) + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    spec, records = scan(tmp_path)
    found = read(spec, records)
    assert {key: raw.image for key, raw in found.items()} == {
        "照片.jpg": b"gbk",
        "100%\\xff.jpg": b"neither",
        "相册/照片.jpg": b"in a folder",
        "重/照片.jpg": b"utf-8",
        "重/%D5%D5%C6%AC.jpg": b"the same name in another encoding",
    }
    assert found["照片.jpg"].text == "文"
    assert {record.id: record.image_uri for record in records}["100%\\xff.jpg"] == f"file://{tmp_path}/100%25%FF.jpg"
    os.unlink(bytes(tmp_path) + b"/100%\xff.jpg")
    failure = read(spec, records)["100%\\xff.jpg"].failure
    assert failure is not None
    assert f"file://{tmp_path}/100%25%FF.jpg does not exist" in failure.detail


def test_what_is_no_record_is_counted_by_kind(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "A.JPG": b"1",
            "two.jpg": b"2",
            "two.png": b"3",
            "two.txt": "both",
            "wget.jpg?size=1.5": b"4",
            "wget.txt": "four",
            "cloud.jpg!w800": b"5",
            "bird.png:large": b"6",
            "oss.webp@80w": b"7",
            "A.TXT": "other case",
            "two.jpg.txt": "other name",
            "a.pdf": "",
            "A.JPG:Zone.Identifier": "",
            "A.JPG@SynoResource": "",
            "b.docx": "",
            "README": "",
            "x.jpg.part": "",
            "y.crdownload": "",
            "z.jpg#1": "",
            "t.csv": "",
            ".hidden": "",
            ".git/a.jpg": "",
        },
    )
    (tmp_path / "album").symlink_to(tmp_path.parent)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    spec, records = scan(tmp_path, format="folder")
    assert {record.id: record.text_uri and record.text_uri.rpartition("/")[2] for record in records} == {
        "A.JPG": None,
        "two.jpg": "two.txt",
        "two.png": "two.txt",
        "wget.jpg?size=1.5": "wget.txt",
        "cloud.jpg!w800": None,
        "bird.png:large": None,
        "oss.webp@80w": None,
    }
    assert {one.kind: one.count for one in spec.skipped} == {
        Skip.UNKNOWN_SUFFIX: 4,
        Skip.NO_SUFFIX: 1,
        Skip.OTHER_FORMAT: 1,
        Skip.LONE_TEXT: 2,
        Skip.HIDDEN: 2,
        Skip.UNFINISHED: 3,
        Skip.FOLDER_LINK: 1,
        Skip.BROKEN_LINK: 2,
        Skip.SPECIAL_FILE: 1,
    }
    examples = {one.kind: one.example for one in spec.skipped}
    assert examples[Skip.NO_SUFFIX] == f"{tmp_path}/README"
    assert examples[Skip.LONE_TEXT] in {f"{tmp_path}/A.TXT", f"{tmp_path}/two.jpg.txt"}


@pytest.mark.parametrize(
    ("number", "kinds"),
    [
        (errno.EACCES, {Skip.UNREADABLE_FOLDER: 1, Skip.UNREADABLE_FILE: 1}),
        (errno.ENOENT, {Skip.VANISHED: 2}),
    ],
)
def test_entries_that_cannot_be_read_do_not_cost_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kinds: dict[Skip, int]
) -> None:
    put(tmp_path, {"ok.jpg": b"1", "lost+found/a.jpg": b"2", "bad.jpg": b"3", "sub/ok.jpg": b"4"})
    fail_at(monkeypatch, number, tmp_path / "lost+found", tmp_path / "bad.jpg")
    for source in (tmp_path, tmp_path / "*"):
        spec, records = scan(source)
        assert sorted(record.id for record in records) == ["ok.jpg", "sub/ok.jpg" if source == tmp_path else "ok.jpg"]
        assert {one.kind: one.count for one in spec.skipped} == kinds


def test_a_disk_that_fails_as_a_whole_is_an_error_that_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, {"ok.jpg": b"1", "sub/a.jpg": b"2"})
    fail_at(monkeypatch, errno.ESTALE, tmp_path / "sub")
    with pytest.raises(UnavailableError, match="/sub is not available"):
        scan(tmp_path)
    fail_at(monkeypatch, errno.EACCES, tmp_path)
    with pytest.raises(ForbiddenError, match=re.escape(f"{tmp_path} was refused")):
        scan(tmp_path)


def test_a_folder_can_be_listed_while_files_are_uploaded_to_it(tmp_path: Path) -> None:
    put(tmp_path, {f"{number}.jpg": b"" for number in range(100)})
    stop = threading.Event()

    def upload() -> None:
        for number in count():
            (tmp_path / "up.jpg.part").write_bytes(b"")
            (tmp_path / "up.jpg.part").rename(tmp_path / "up.jpg" if number % 2 else tmp_path / "up.txt")
            if stop.is_set():
                return

    thread = threading.Thread(target=upload)
    thread.start()
    try:
        for _ in range(40):
            assert 100 <= len(scan(tmp_path)[1]) <= 101
    finally:
        stop.set()
        thread.join()


def fail_at(monkeypatch: pytest.MonkeyPatch, number: int, *paths: Path) -> None:
    """Listing these folders and looking at these files fails; as root, permissions alone would not do it."""
    bad, files = set(map(str, paths)), {str(path) for path in paths if path.is_file()}

    class Entry:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.name, self.path, self.is_dir, self.is_symlink = entry.name, entry.path, entry.is_dir, entry.is_symlink
            self._entry = entry

        def stat(self) -> os.stat_result:
            return self._entry.stat() if self.path not in bad else raised(self.path)

    def raised(path: str) -> Any:
        raise OSError(number, os.strerror(number), path)

    @contextmanager
    def scandir(path: str) -> Iterator[Iterator[Entry]]:
        with SCANDIR(path) if path not in bad else raised(path) as entries:
            yield map(Entry, entries)

    monkeypatch.setattr("pipeline.storage.backends.local.os.scandir", scandir)
    monkeypatch.setattr(os, "stat", lambda path, **options: raised(path) if path in files else STAT(path, **options))


SCANDIR, STAT = os.scandir, os.stat


def test_an_invalid_source_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere does not exist"):
        scan(tmp_path / "nowhere")
    for name in ("{a,b}.jpg", "{a,b}.tar"):
        (tmp_path / name.replace("{a,b}", "a")).touch()
        with pytest.raises(SourceError, match=r"b\.\w+ does not exist"):
            scan(tmp_path / name)
    with pytest.raises(SourceError, match="Nothing to embed was found"):
        scan(put(tmp_path / "empty", {"README.md": "x"}))
    with pytest.raises(SourceError, match="No source was given"):
        scan()
    put(tmp_path / "mixed", {"a.jpg": b"", "b.csv": "id,text\n1,a\n"})
    with pytest.raises(SourceError, match=r"holds images and tables\. Choose what to read with --format"):
        scan(tmp_path / "mixed")
    assert scan(tmp_path / "mixed", format="folder")[0].kind == "folder"
    assert scan(tmp_path / "mixed", format="table")[0].kind == "table"
    with pytest.raises(SourceError, match="No tars were found"):
        scan(tmp_path / "mixed", format="webdataset")


def test_a_spec_can_be_pickled(tmp_path: Path) -> None:
    spec, records = scan(put(tmp_path, {"1.jpg": b"one"}))
    data = pickle.dumps(spec)
    assert len(data) < 5000
    assert read(pickle.loads(data), records)["1.jpg"].image == b"one"
