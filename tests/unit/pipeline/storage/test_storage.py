"""Storage on a local disk and in memory: names, listings, range reads and atomic writes."""

from __future__ import annotations

import os
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from obstore.exceptions import InvalidPathError

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import (
    AlreadyExistsError,
    BadUriError,
    ConfigError,
    ForbiddenError,
    NotFoundError,
    SourceError,
    StorageError,
    TooLargeError,
)
from pipeline.storage import ReadPolicy
from pipeline.storage.reading import _merge, _Span

POLICY = ReadPolicy.of(SourceConfig(read_concurrency=4, max_image_bytes=1000))


def put(folder: Path, *names: str, data: bytes = b"data") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def names(uris: list[str], folder: Path) -> list[str]:
    return [uri.removeprefix(f"{folder}/") for uri in uris]


def test_local_paths_become_absolute_and_urls_keep_every_character(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert storage.normalise("a/../b") == f"{tmp_path}/b"
    assert storage.normalise("~/x") == "/home/someone/x"
    assert storage.normalise("file:///a%20b/") == "/a b"
    assert storage.normalise("s3://b/a#1%41?x/") == "s3://b/a#1%41?x"
    assert storage.normalise("https://h/a?b=c/") == "https://h/a?b=c/"
    assert storage.join("s3://b/", "x/", "/y") == "s3://b/x/y"
    assert (storage.scheme("S3://b"), storage.scheme("/x:y"), storage.is_local("c")) == ("s3", "file", True)
    assert storage.printable("https://user:word@h/p?token=x#f") == "https://h/p"
    assert storage.name("https://h/p/a.jpg?x=/b") == "a.jpg"


def test_a_folder_is_inside_another_whatever_links_lead_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "link").symlink_to(out)
    assert storage.is_inside(f"{tmp_path}/link/new", f"{out}/")
    assert storage.is_inside("s3://b/out", "s3://b/out/")
    assert not storage.is_inside(f"{out}put", str(out))
    assert storage.is_inside(str(out), "/")


@pytest.mark.parametrize(
    ("pattern", "has"),
    [
        ("/p", True),
        ("/p/kept/0.tar", True),
        ("/p/*.tar", False),
        ("/p/*/*.tar", True),
        ("/p/{a,kept}/?.tar", True),
        ("/p/k*", True),
        ("/p/**", True),
        ("/q/**", False),
        ("https://h/p/*", False),
    ],
)
def test_what_a_pattern_would_match_is_known_before_it_is_there(pattern: str, has: bool) -> None:
    assert storage.would_have(pattern, "/p/kept/0.tar") == has


@pytest.mark.parametrize("text", ['{"source": ', "[]", ""])
def test_a_damaged_claim_is_named_with_its_cure(tmp_path: Path, text: str) -> None:
    (tmp_path / "_claim.json").write_text(text)
    for claimed in (storage.read_claim, lambda uri: storage.claim_folder(uri, {}, "snapshot")):
        with pytest.raises(StorageError, match=r"_claim\.json is damaged .*: restore it .*, or choose another folder"):
            claimed(f"{tmp_path}/_claim.json")


def test_a_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    put(tmp_path, "a")
    before = storage.stat(str(tmp_path / "a"))
    os.utime(tmp_path / "a", ns=(1, 1))
    after = storage.stat(str(tmp_path / "a"))
    assert (before.size_bytes, after.fingerprint) == (4, "4-1")
    assert before.fingerprint != after.fingerprint


def test_listings_are_recursive_and_skip_hidden_and_staged_files(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b/c.jpg", "b/#1.jpg", ".hidden/x", "b/.x", "b/c.jpg#12")
    found = sorted(info.uri for info in storage.list_objects(str(tmp_path)))
    assert names(found, tmp_path) == ["a.jpg", "b/#1.jpg", "b/c.jpg"]
    assert [info.uri for info in storage.list_objects(str(tmp_path / "a.jpg"))] == [str(tmp_path / "a.jpg")]


def test_a_missing_folder_is_an_error_and_an_empty_one_is_not(tmp_path: Path) -> None:
    assert list(storage.list_objects(str(tmp_path))) == []
    with pytest.raises(NotFoundError, match="no/such does not exist"):
        list(storage.list_objects(str(tmp_path / "no/such")))
    assert not storage.exists(str(tmp_path))


def test_patterns_expand_in_order_without_duplicates(tmp_path: Path) -> None:
    put(tmp_path, "p-000.tar", "p-001.tar", "p-002.tar", "x/q.tar", "odd[1].tar")
    base = str(tmp_path)
    assert names(storage.expand([f"{base}/p-{{000..001}}.tar"]), tmp_path) == ["p-000.tar", "p-001.tar"]
    assert names(storage.expand([f"{base}/p-{{2..000}}.tar"]), tmp_path) == ["p-002.tar", "p-001.tar", "p-000.tar"]
    assert names(storage.expand([f"{base}/{{p-002,x/q}}.tar"]), tmp_path) == ["p-002.tar", "x/q.tar"]
    assert names(storage.expand([f"{base}/p-*.tar", f"{base}/p-001.tar"]), tmp_path) == [
        f"p-00{digit}.tar" for digit in range(3)
    ]
    assert names(storage.expand([f"{base}/**/q.tar"]), tmp_path) == ["x/q.tar"]
    assert names(storage.expand([f"{base}/odd[1].tar"]), tmp_path) == ["odd[1].tar"]
    with pytest.raises(SourceError, match=r"nothing-\*\.tar matches nothing"):
        storage.expand([f"{base}/nothing-*.tar"])


def test_patterns_match_in_stores_without_folders() -> None:
    for name in ("a/1.tar", "a/2.tar", "a/b/3.tar", "c-x/4.tar"):
        storage.overwrite(f"memory://globs/{name}", b"")
    assert storage.expand(["memory://globs/a/?.tar"]) == ["memory://globs/a/1.tar", "memory://globs/a/2.tar"]
    assert storage.expand(["memory://globs/**/[3-4].tar"]) == ["memory://globs/a/b/3.tar", "memory://globs/c-x/4.tar"]
    assert storage.expand(["memory://globs/c-*"]) == ["memory://globs/c-x"]
    assert storage.expand(["memory://globs/[!a]*/*"]) == ["memory://globs/c-x/4.tar"]
    assert storage.expand(["memory://globs/a/**"]) == [f"memory://globs/a/{name}.tar" for name in ("1", "2", "b/3")]
    assert storage.expand(["memory://globs/c**"]) == ["memory://globs/c-x"]
    with pytest.raises(SourceError):
        storage.expand(["memory://globs/z*"])


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("p+(1).?*", ["p+(1).tar", "p+(1).x"], ["pp(1).tar", "p+(1)tar", "p+(1)."]),
        ("*/b", ["a/b", "c/b"], ["a/d/b", "b"]),
        ("a/**/b", ["a/b", "a/c/b", "a/c/d/b"], ["a/cb", "ab"]),
        ("[0-9][!a-c]", ["0d", "9-"], ["0a", "d0", "0"]),
        ("odd[1", ["odd[1"], ["odd1"]),
        ("[^a]", ["^", "a"], ["b"]),
    ],
)
def test_a_pattern_matches_the_same_names_in_a_bucket_and_on_disk(
    tmp_path: Path, pattern: str, matching: list[str], others: list[str]
) -> None:
    base = f"memory://same/{uuid.uuid4().hex}"
    for name in matching + others:
        put(tmp_path, name)
        storage.overwrite(f"{base}/{name}", b"")
    for where in (str(tmp_path), base):
        assert [uri.removeprefix(f"{where}/") for uri in storage.expand([f"{where}/{pattern}"])] == sorted(matching)


def test_other_fsspec_schemes_can_read_write_list_and_delete() -> None:
    uri = "memory://other/x/a.bin"
    storage.create(uri, b"0123456789")
    with pytest.raises(AlreadyExistsError):
        storage.create(uri, b"z")
    assert storage.supports_create("memory://other") is False
    assert (storage.read_bytes(uri), storage.read_range(uri, 3, 4)) == (b"0123456789", b"3456")
    with pytest.raises(TooLargeError):
        storage.read_bytes(uri, max_bytes=9)
    assert [info.uri for info in storage.list_objects("memory://other")] == [uri]
    with storage.open_seekable(uri) as file:
        file.seek(-3, os.SEEK_END)
        assert file.read() == b"789"
    storage.delete(uri)
    storage.delete(uri)
    assert not storage.exists(uri)


def test_an_unknown_scheme_is_reported() -> None:
    with pytest.raises(BadUriError, match="nosuch://a/b cannot be opened"):
        storage.read_bytes("nosuch://a/b")


def test_concurrent_reads_keep_their_order_and_return_an_error_per_failure(tmp_path: Path) -> None:
    put(tmp_path, *(f"{number}" for number in range(50)))
    for number in range(50):
        (tmp_path / f"{number}").write_bytes(str(number).encode())
    put(tmp_path, "large", data=b"x" * 1001)
    uris = [str(tmp_path / f"{number}") for number in range(50)]
    uris[7], uris[9], uris[11] = str(tmp_path / "none"), str(tmp_path / "large"), str(tmp_path)
    uris[13] = "/dev/null"  # as /dev/zero, which has no end
    results = storage.read_many(uris, POLICY)
    assert [results[0], results[8], results[49]] == [b"0", b"8", b"49"]
    assert isinstance(results[7], NotFoundError)
    assert isinstance(results[13], NotFoundError)
    assert isinstance(results[9], TooLargeError)
    assert "1,001 bytes" in str(results[9])
    assert isinstance(results[11], StorageError)
    assert storage.read_many([], POLICY) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_forbidden(tmp_path: Path) -> None:
    put(tmp_path, "a")
    (tmp_path / "a").chmod(0)
    assert isinstance(storage.read_many([str(tmp_path / "a")], POLICY)[0], ForbiddenError)


def test_spans_are_returned_in_order_clipped_at_the_end_and_limited(tmp_path: Path) -> None:
    data = os.urandom(600_000)
    put(tmp_path, "a", data=data)
    spans = [(500_000, 900), (0, 10), (5, 10), (599_990, 500), (700_000, 5), (20, 1001), (3, 0)]
    results = storage.read_spans(str(tmp_path / "a"), spans, POLICY)
    assert results[:5] == [data[500_000:500_900], data[:10], data[5:15], data[599_990:], b""]
    assert isinstance(results[5], TooLargeError)
    assert results[6] == b""
    missing = storage.read_spans(str(tmp_path / "b"), [(0, 1), (9, 1)], POLICY)
    assert all(isinstance(result, NotFoundError) for result in missing)


def test_nearby_spans_share_a_request_and_distant_ones_do_not() -> None:
    spans = [_Span(0, 100, 0), _Span(100, 100, 1), _Span(10**6, 100, 2), _Span(150, 10, 3)]
    assert [[span.place for span in group] for group in _merge(spans)] == [[0, 1, 3], [2]]
    long = [_Span(0, 30 * 2**20, 0), _Span(30 * 2**20, 30 * 2**20, 1)]
    assert len(_merge(long)) == 2


def test_create_lets_exactly_one_concurrent_writer_win(tmp_path: Path) -> None:
    uri = str(tmp_path / "new/folder/shard.parquet")
    start = threading.Barrier(4)

    def write(writer: int) -> bool:
        start.wait()
        try:
            storage.create(uri, bytes([writer]) * 100_000)
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(write, range(4)))
    assert won.count(True) == 1
    assert (tmp_path / "new/folder/shard.parquet").read_bytes() == bytes([won.index(True)]) * 100_000
    assert os.listdir(tmp_path / "new/folder") == ["shard.parquet"]
    assert storage.supports_create(str(tmp_path))


def test_a_link_whose_answer_was_lost_is_no_other_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def linked_twice(*names: str) -> None:
        link(*names)
        link(*names)

    monkeypatch.setattr(os, "link", linked_twice)
    storage.create(str(tmp_path / "a"), b"1")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_create_without_hard_links_still_refuses_an_existing_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_args: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    uri = str(tmp_path / "a")
    storage.create(uri, b"1")
    with pytest.raises(AlreadyExistsError):
        storage.create(uri, b"2")
    assert (tmp_path / "a").read_bytes() == b"1"
    assert storage.supports_create(str(tmp_path)) is False
    assert os.listdir(tmp_path) == ["a"]


def test_overwrite_replaces_the_file_and_leaves_no_staged_file(tmp_path: Path) -> None:
    uri = str(tmp_path / "a")
    storage.overwrite(uri, b"1")
    storage.overwrite(uri, b"22")
    assert storage.read_bytes(uri) == b"22"
    assert os.listdir(tmp_path) == ["a"]
    storage.delete(uri)
    storage.delete(uri)
    assert os.listdir(tmp_path) == []


def test_arrow_reads_files_written_by_storage(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2, 3]})
    for base in (str(tmp_path), "memory://arrow"):
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        storage.overwrite(storage.join(base, "t.parquet"), sink.getvalue().to_pybytes())
        fs, path = storage.arrow_filesystem(storage.join(base, "t.parquet"))
        assert pq.read_table(path, filesystem=fs).equals(table)


def test_an_unwritable_output_folder_is_refused_with_the_reason(tmp_path: Path) -> None:
    storage.check_writable(f"{tmp_path}/new/folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=f"{tmp_path}/file/out cannot be written: {tmp_path}/file is not a folder"):
        storage.check_writable(f"{tmp_path}/file/out")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_missing_permission_is_reported(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    if not (child := os.fork()):
        os.setuid(65534)
        try:
            storage.check_writable(f"{tmp_path}/out")
        except ConfigError as error:
            os.write(write_end, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert "cannot be written: there is no permission to write in" in os.read(read_end, 1000).decode()


def test_an_error_of_a_listing_names_the_key() -> None:
    error = InvalidPathError('Encountered object with invalid path: Path "a//b.jpg" contained empty path segment')
    with (
        pytest.raises(BadUriError, match=r"gs://b cannot be listed: 'a//b.jpg' has an empty"),
        storage.translated("gs://b"),
    ):
        raise error
