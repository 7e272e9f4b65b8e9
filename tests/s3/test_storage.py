"""Storage on a real S3 server: what it reads, writes and lists, and its errors."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import AlreadyExistsError, ForbiddenError, NotFoundError, TooLargeError
from pipeline.storage import ReadPolicy
from tests.fixtures.servers.s3 import SECRET, S3Server

POLICY = ReadPolicy.of(SourceConfig(read_timeout_s=1, retry_timeout_s=8, read_concurrency=8, max_image_bytes=1_000_000))


def test_objects_with_odd_names_are_written_listed_and_read(s3: S3Server) -> None:
    base = storage.join(s3.bucket(), "in")
    keys = ["a b.jpg", "p%41.jpg", "c+.jpg", "q?.jpg", "h#1.jpg", "红.jpg", "d/e.jpg", "br[1].jpg", "x=1&y.jpg"]
    for key in keys:
        storage.create(storage.join(base, key), key.encode())
    infos = {info.uri: info for info in storage.list_objects(base)}
    assert sorted(infos) == sorted(storage.join(base, key) for key in keys)
    assert [storage.read_bytes(uri).decode() for uri in sorted(infos)] == sorted(keys)
    assert storage.stat(f"{base}/红.jpg") == infos[f"{base}/红.jpg"]
    assert infos[f"{base}/红.jpg"].size_bytes == len("红.jpg".encode())


def test_a_fingerprint_is_the_etag(s3: S3Server) -> None:
    uri = storage.join(s3.bucket(), "a")
    storage.overwrite(uri, b"hello")
    assert storage.stat(uri).fingerprint == "5d41402abc4b2a76b9719d911017c592"


def test_listings_longer_than_a_page_are_complete(s3: S3Server) -> None:
    base = storage.join(s3.bucket(), "in")
    uris = [storage.join(base, f"{number:04}") for number in range(1100)]
    below = [storage.join(base, f"{folder}/{number}") for folder in ("0500", "0-1", "1099 x") for number in range(500)]
    storage.in_threads(lambda uri: storage.overwrite(uri, b""), [uri for uri in uris if uri[-4:] != "0500"] + below, 16)
    assert sorted(info.uri for info in storage.list_objects(base)) == sorted({*uris, *below} - {f"{base}/0500"})
    assert storage.expand([f"{base}/10?9"]) == [f"{base}/10{digit}9" for digit in range(10)]


def test_many_objects_are_read_at_once(s3: S3Server) -> None:
    base = s3.bucket()
    storage.overwrite(f"{base}/a", b"a" * 1000)
    storage.overwrite(f"{base}/large", b"x" * 1_000_001)
    uris = [f"{base}/a", f"{base}/gone", f"{base}/large", f"{base}/x//y", f"{base}/a"]
    first, gone, large, odd, last = storage.read_many(uris, POLICY)
    assert first == last == b"a" * 1000
    assert isinstance(gone, NotFoundError)
    assert isinstance(large, TooLargeError)
    assert isinstance(odd, NotFoundError)
    assert gone.uri == f"{base}/gone"
    spans = storage.read_spans(f"{base}/large", [(999_999, 50), (0, 3), (2_000_000, 5)], POLICY)
    assert spans == [b"xx", b"xxx", b""]


def test_a_remote_object_is_read_like_a_file(s3: S3Server) -> None:
    uri = f"{s3.bucket()}/f"
    data = bytes(range(256)) * 10_000
    storage.overwrite(uri, data)
    with storage.open_seekable(uri, buffer_bytes=10_000) as file:
        assert file.read(5) == data[:5]
        assert file.seek(-7, 2) == len(data) - 7
        assert file.read() == data[-7:]
        file.seek(1_234_567)
        assert file.read(100_000) == data[1_234_567:1_334_567]
    with pytest.raises(NotFoundError):
        storage.open_seekable(f"{uri}-not")


def test_arrow_reads_files_and_folders_in_a_bucket(s3: S3Server) -> None:
    base = s3.bucket()
    for part in range(2):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"a": [part] * 5}), sink)
        storage.create(f"{base}/t/k=1/{part}.parquet", sink.getvalue().to_pybytes())
    fs, path = storage.arrow_filesystem(f"{base}/t")
    table = ds.dataset(path, filesystem=fs, format="parquet", partitioning="hive").to_table()
    assert sorted(table["a"].to_pylist()) == [0] * 5 + [1] * 5
    fs, path = storage.arrow_filesystem(f"{base}/none.parquet")
    with pytest.raises(NotFoundError), storage.translated(f"{base}/none.parquet"):
        fs.open_input_file(path).read()


def test_a_wrong_secret_is_reported_but_never_shown(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    base = s3.bucket()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    attempts = (
        lambda: storage.read_bytes(f"{base}/a"),
        lambda: list(storage.list_objects(base)),
        lambda: storage.create(f"{base}/a", b""),
        lambda: storage.stat(f"{base}/a"),
    )
    for attempt in attempts:
        with pytest.raises(ForbiddenError, match="Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") as caught:
            attempt()
        assert "not-the-secret" not in str(caught.value)
        assert SECRET not in str(caught.value)
    assert isinstance(storage.read_many([f"{base}/a"], POLICY)[0], ForbiddenError)


def test_without_credentials_requests_are_anonymous(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    base = s3.bucket()
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ForbiddenError, match="AccessDenied"):
        storage.read_bytes(f"{base}/a")


def test_credentials_may_come_from_a_profile(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    uri = f"{s3.bucket()}/a"
    storage.create(uri, b"mine")
    env = s3.env
    lines = [
        "[profile shop]",
        f"endpoint_url = {env['AWS_ENDPOINT_URL']}",
        f"aws_access_key_id = {env['AWS_ACCESS_KEY_ID']}",
        f"aws_secret_access_key = {env['AWS_SECRET_ACCESS_KEY']}",
    ]
    with open(f"{tmp_path}/config", "w") as file:
        file.write("\n".join(lines))
    for name in env:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/config")
    monkeypatch.setenv("AWS_PROFILE", "shop")
    assert storage.read_bytes(uri) == b"mine"


def test_a_missing_bucket_is_named_with_the_cure(s3: S3Server) -> None:
    for attempt in (
        lambda: storage.read_bytes("s3://no-such-bucket/a"),
        lambda: list(storage.list_objects("s3://no-such-bucket")),
    ):
        with pytest.raises(NotFoundError, match=r"The bucket s3://no-such-bucket does not exist\..*AWS_ENDPOINT_URL"):
            attempt()


def test_one_of_two_writers_of_a_name_wins(s3: S3Server) -> None:
    base = s3.bucket()
    assert storage.supports_create(base)
    for number in range(3):
        start = threading.Barrier(2)

        def write(writer: int, uri: str = f"{base}/{number}", start: threading.Barrier = start) -> bool:
            start.wait()
            try:
                storage.create(uri, bytes([writer]) * 50_000)
            except AlreadyExistsError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            won = list(pool.map(write, range(2)))
        assert sorted(won) == [False, True]
        assert storage.read_bytes(f"{base}/{number}") == bytes([won.index(True)]) * 50_000
    assert [info.uri for info in storage.list_objects(base)] == [f"{base}/{number}" for number in range(3)]
