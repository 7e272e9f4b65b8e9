"""Folder sources of images and texts, and detection of a source's format."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from pipeline.errors import SourceError
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


def test_a_file_name_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    with open(bytes(tmp_path) + b"/\xff.jpg", "wb"):
        pass
    with pytest.raises(SourceError, match=r"udcff\.jpg' in the source is not valid Unicode"):
        scan(tmp_path)


def test_an_invalid_source_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere does not exist"):
        scan(tmp_path / "nowhere")
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
