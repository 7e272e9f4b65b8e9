"""S3 Inventories as listings: the records of a live listing, and what makes an inventory unusable."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import OutputConfig, RunConfig, SourceConfig
from pipeline.errors import SourceError
from pipeline.plan.make import dry_plan
from tests.fixtures.datasets import FakeModel
from tests.fixtures.servers.odd_bucket import OddBucket, serving
from tests.fixtures.sources import scan

KEYS = ["in/b c+%41.jpg", "in/b c+%41.txt", "in/红.jpg", "in/x//y.jpg", "in/a.png", "in/.hidden/z.jpg", 'in/"q",1.jpg']
OTHERS = ["in/", "inn/c.jpg", "other.jpg"]
COLUMNS = ["Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag"]
PARQUET = {"VersionId": "version_id", "IsLatest": "is_latest", "IsDeleteMarker": "is_delete_marker"} | {
    "LastModifiedDate": "last_modified_date",
    "ETag": "e_tag",
}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[OddBucket]:
    with serving(OddBucket({key: key.encode() for key in KEYS + OTHERS}), monkeypatch) as bucket:
        yield bucket


def rows(bucket: OddBucket) -> list[dict[str, Any]]:
    """The objects in no order, with an older version of one and a delete marker of another."""
    found = []
    for key, body in list(bucket.objects.items())[::-1]:
        etag = f"e{len(body)}-{sum(body)}"
        one = {"Bucket": "odd", "Key": key, "VersionId": "2", "IsLatest": True, "IsDeleteMarker": False}
        found.append({**one, "Size": len(body), "LastModifiedDate": None, "ETag": etag})
    old = {**found[0], "Key": KEYS[0], "VersionId": "1", "IsLatest": False, "ETag": "old"}
    gone = {**found[0], "Key": "in/gone.jpg", "IsDeleteMarker": True, "Size": None, "ETag": None}
    return [old, *found, gone]


def inventory(bucket: OddBucket, kind: str, without: tuple[str, ...] = (), night: str = "2026-11-28T01-00Z") -> str:
    """Write an inventory of two files into the bucket; returns its manifest."""
    columns = [name for name in COLUMNS if name not in without]
    listed, files = rows(bucket), []
    for number, part in enumerate((listed[:3], listed[3:])):
        key = f"inv/odd/all/data/{night}-{number}.{'parquet' if kind == 'Parquet' else 'csv.gz'}"
        data = (_parquet if kind == "Parquet" else _csv)(columns, part)
        bucket.objects[key] = data
        files.append({"key": key, "size": len(data), "MD5checksum": hashlib.md5(data).hexdigest()})
    names = [PARQUET.get(name, name.lower()) for name in columns]
    schema = "message s3.inventory { " + " ".join(f"optional binary {name} (UTF8);" for name in names) + " }"
    manifest = {
        "sourceBucket": "odd",
        "destinationBucket": "arn:aws:s3:::odd",
        "version": "2016-11-30",
        "creationTimestamp": str(round((time.time() - 7200) * 1000)),
        "fileFormat": kind,
        "fileSchema": ", ".join(columns) if kind == "CSV" else schema,
        "files": files,
    }
    name = f"inv/odd/all/{night}/manifest.json"
    bucket.objects[name] = json.dumps(manifest).encode()
    return f"{bucket.address}/{name}"


def _csv(columns: list[str], part: list[dict[str, Any]]) -> bytes:
    def cell(name: str, value: Any) -> str:
        text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        return f'"{quote_plus(text, safe="/") if name == "Key" else text}"'

    lines = "".join(",".join(cell(name, row[name]) for name in columns) + "\n" for row in part)
    return gzip.compress(lines.encode())


def _parquet(columns: list[str], part: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    table = {PARQUET.get(name, name.lower()): [row[name] for row in part] for name in columns}
    pq.write_table(pa.table(table), sink)
    return sink.getvalue()


@pytest.mark.parametrize("kind", ["CSV", "Parquet"])
@pytest.mark.parametrize("address", ["in", ""])
def test_an_inventory_gives_the_records_of_a_listing(bucket: OddBucket, kind: str, address: str) -> None:
    uri = f"{bucket.address}/{address}".rstrip("/")
    live, listed = scan(uri)
    manifest = inventory(bucket, kind)
    spec, records = scan(uri, inventory=manifest)
    assert records == listed
    assert spec.skipped == live.skipped
    assert "h old" in spec.notes[-1]
    assert scan(uri, inventory=manifest, limit=1)[1] == listed[:1]


def test_a_plan_from_an_inventory_is_that_from_a_listing(bucket: OddBucket) -> None:
    inventory(bucket, "CSV", night="2026-11-27T01-00Z")
    bucket.objects["in/new.jpg"] = b"new"
    inventory(bucket, "Parquet")
    config = RunConfig(
        source=SourceConfig(uris=(f"{bucket.address}/in",)), output=OutputConfig(uri=f"{bucket.address}/out")
    )
    newest = config.source.model_copy(update={"inventory": f"{bucket.address}/inv"})
    plans = [dry_plan(one, FakeModel(), 1) for one in (config, config.model_copy(update={"source": newest}))]
    shards = [[shard.shard_id for shard in plan.shards] for plan in plans]
    assert plans[0].rows_in_source == plans[1].rows_in_source == 6
    assert shards[0] == shards[1]


def test_an_inventory_that_differs_from_a_listing_is_refused_with_the_cure(bucket: OddBucket) -> None:
    uri, whole = f"{bucket.address}/in", inventory(bucket, "CSV")

    def refused(match: str, address: str = uri, manifest: str = whole) -> None:
        with pytest.raises(SourceError, match=match):
            scan(address, inventory=manifest)

    refused("no ETag, .*Add these fields", manifest=inventory(bucket, "CSV", ("ETag",), "2026-11-28T02-00Z"))
    lacking = inventory(bucket, "Parquet", ("IsLatest", "Size"), "2026-11-28T03-00Z")
    refused("no Size and no IsLatest", manifest=lacking)
    refused("lists the bucket odd", "s3://another/in")
    refused("no folder of a bucket", "/tmp")
    refused("There is no manifest.json below", manifest=f"{bucket.address}/in")
    bucket.objects["bad/manifest.json"] = b"{}"
    refused("is no manifest of an S3 Inventory", manifest=f"{bucket.address}/bad/manifest.json")
    data = next(key for key in bucket.objects if "/data/2026-11-28T01" in key)
    bucket.objects[data] += b"\n"
    refused("its MD5 differs")
