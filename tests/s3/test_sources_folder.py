"""Folders of images and texts in a bucket."""

from __future__ import annotations

import pytest

from pipeline import sources, storage
from pipeline.errors import SourceError, UnavailableError
from pipeline.stats import Skipped
from pipeline.vocabulary import Skip
from tests.fixtures.servers.s3 import S3Server
from tests.fixtures.sources import read, reasons, scan


def test_a_bucket_pairs_images_with_texts(s3: S3Server) -> None:
    base = storage.join(s3.bucket(), "in")
    for name, data in {
        "1.jpg": b"one",
        "1.txt": "一".encode(),
        "1.b.jpg": b"one b",
        "1.b.txt": b"text b",
        "1/2.jpg": b"two",
        "1-a.png": b"a",
        "lonely.txt": b"?",
    }.items():
        storage.overwrite(storage.join(base, name), data)
    spec, records = scan(base)
    found = read(spec, records)
    assert {key: (raw.image, raw.text) for key, raw in found.items()} == {
        "1.jpg": (b"one", "一"),
        "1.b.jpg": (b"one b", "text b"),
        "1/2.jpg": (b"two", None),
        "1-a.png": (b"a", None),
    }
    assert spec.skipped == (Skipped(Skip.LONE_TEXT, 1, f"{base}/lonely.txt"),)
    storage.delete(storage.join(base, "1.jpg"))
    assert reasons(read(spec, records)) == {"1.jpg": "read/not_found"}


def test_files_below_the_output_folder_in_a_bucket_are_not_records(s3: S3Server) -> None:
    base = s3.bucket()
    for name in ("c.jsonl", "out/x.jsonl", "out.jsonl"):
        storage.overwrite(f"{base}/data/{name}", b'{"text": "a"}')
    for source in (f"{base}/data/", f"{base}/data/**/*.jsonl"):
        assert [record.container for record in scan(source, out=f"{base}/data/out/")[1]] == [
            f"{base}/data/c.jsonl",
            f"{base}/data/out.jsonl",
        ]
    with pytest.raises(SourceError, match="hanclip's own"):
        scan(f"{base}/data", out=f"{base}/data")


def test_an_outage_of_the_store_is_not_blamed_on_records(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    base = s3.bucket()
    storage.overwrite(f"{base}/1.jpg", b"one")
    spec, records = scan(base)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError):
        sources.reader(spec).read(records)
