"""Folders of images and texts in a bucket."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline import sources, storage
from pipeline.config import OutputConfig, RunConfig, SourceConfig
from pipeline.dataset.plan_files import read_records
from pipeline.errors import SourceError, UnavailableError
from pipeline.plan.make import make_plan
from pipeline.plan.run_ids import new_run_id
from pipeline.stats import Skipped
from pipeline.storage.backends import objects
from pipeline.vocabulary import Skip
from tests.fixtures.datasets import FakeModel
from tests.fixtures.servers.odd_bucket import OddBucket, serving
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


@pytest.mark.parametrize("in_order", [0, 20], ids=["never in order", "in order at first"])
@pytest.mark.parametrize("bucket", ["odd", "odd--use1-az4--x-s3"])
def test_a_bucket_that_lists_in_no_order_is_sorted_before_texts_are_paired(
    in_order: int, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = [f"in/{number:03}.{suffix}" for number in range(40) for suffix in ("jpg", "txt")]
    rest = names[in_order:]
    random.Random(5).shuffle(rest)
    held = {name: name.encode() for name in [*names[:in_order], *rest]}
    with serving(OddBucket(held, page_keys=10, unsorted=True), monkeypatch):
        base = f"s3://{bucket}/in"
        spec, records = scan(base)
        assert [(record.id, record.text_uri) for record in records] == [
            (f"{number:03}.jpg", f"{base}/{number:03}.txt") for number in range(40)
        ]
        assert (spec.texts, spec.skipped) == (40, ())
        assert [record.id for record in scan(base, limit=2)[1]] == ["000.jpg", "001.jpg"]
        config = RunConfig(source=SourceConfig(uris=(base,)), output=OutputConfig(uri=str(tmp_path / "out")))
        monkeypatch.setattr("pipeline.storage.backends.order._UNSORTED", set())  # as in a new process
        plan = make_plan(config, FakeModel(), new_run_id(), 1)
        planned = [record for shard in plan.shards for record in read_records(shard)]
        assert len(planned) == 40
        assert all(record.text_uri for record in planned)


def test_a_directory_bucket_of_aws_itself_gets_its_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    for bucket, express in {"b--use1-az4--x-s3": True, "b": False}.items():
        assert objects._is_express(bucket) is express
        store, _ = objects._locate(f"s3://{bucket}/key", 1.0)
        assert str(dict(store.config).get("s3_express", False)).lower() == str(express).lower()
