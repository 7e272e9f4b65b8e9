"""Commands on a finished dataset in a bucket write and report the same as on a local disk."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.latest_rows import latest
from tests.fixtures.commands import Run
from tests.fixtures.servers.s3 import S3Server, client
from tests.fixtures.tables import assert_tables_are_replaced

RULES = ("--where", "keep and similarity >= 0.28 and image_width >= 60")
OTHERWISE = ("_s", "seconds", "_bytes", "state")


@pytest.fixture
def bucket(s3: S3Server, demo_dataset: Path) -> str:
    """A bucket with the embedded demo catalog in `out`."""
    bucket, store = s3.bucket(), client(s3.endpoint)
    for path in filter(Path.is_file, demo_dataset.rglob("*")):
        key = f"out/{path.relative_to(demo_dataset)}"
        store.put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=path.read_bytes())
    return bucket


def files_here(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def files_there(bucket: str, s3: S3Server) -> dict[str, bytes]:
    store, name = client(s3.endpoint), bucket.removeprefix("s3://")
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=name)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    return {key: store.get_object(Bucket=name, Key=key)["Body"].read() for key in keys}


def contents(files: dict[str, bytes], place: str) -> dict[str, object]:
    """The contents of files, with `place` replaced by `@`; without files that name runs or states of a store."""

    def value(content: bytes) -> object:
        return pq.read_table(io.BytesIO(content)) if content[:4] == b"PAR1" else content.replace(place.encode(), b"@")

    own = ("clean/", "lance/", "out/_held.parquet")
    return {name: value(content) for name, content in files.items() if not name.startswith(own)}


def lance(uri: str) -> pa.Table:
    import lancedb

    options = {"allow_http": "true"} if "://" in uri else None
    return lancedb.connect(uri, storage_options=options).open_table("hanclip").to_arrow()


def assert_same_reports(here: dict[str, Any], there: dict[str, Any], place: Path, bucket: str) -> None:
    """Both reports are equal, except for locations, durations and sizes (a page contains its location)."""

    def plain(report: Any, root: str) -> Any:
        if isinstance(report, dict):
            return {plain(key, root): plain(one, root) for key, one in report.items() if not key.endswith(OTHERWISE)}
        if isinstance(report, list):
            return [plain(one, root) for one in report]
        return report.replace(root, "@").replace("/there/", "/here/") if isinstance(report, str) else report

    assert plain(here, str(place)) == plain(there, bucket)


def test_every_command_does_the_same_in_a_bucket(
    s3: S3Server, bucket: str, demo_dataset: Path, tmp_path: Path, hanclip: Run
) -> None:
    place = tmp_path / "place"
    shutil.copytree(demo_dataset, place / "out")
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    for typed in (
        "dedup @/out",
        "similarity @/out",
        "index @/out --kind ivf",
        "search @/out --id noto-1f34e",
        "search @/out 红苹果 --exact --html #/found.html",
        "filter @/out",
        "filter @/out @/clean --as dataset",
        "filter @/out @/tars --as tars",
        "report @/out --to @/report.html",
        "verify @/clean",
        "export @/out @/npy --to npy --vectors both",
        "export @/out @/faiss --to faiss",
        "export @/out @/hf --to hf",
        "export @/out @/lance --to lance",
    ):
        rules = RULES if typed.startswith("filter") else ()
        here, there = (
            hanclip(*typed.replace("@", root).replace("#", str(page)).split(), *rules)
            for root, page in ((str(place), tmp_path / "here"), (bucket, tmp_path / "there"))
        )
        assert_same_reports(here, there, place, bucket)

    local, remote = contents(files_here(place), str(place)), contents(files_there(bucket, s3), bucket)
    assert local == remote
    here, there = ((tmp_path / name / "found.html").read_text() for name in ("here", "there"))
    assert here.replace(str(place), "@") == there.replace(bucket, "@")
    assert {"report.html", "npy/img_emb/img_emb_0000.npy", "faiss/image.index"} <= local.keys()
    clean, table = (
        [read(root) for root in (str(place), bucket)]
        for read in (
            lambda root: latest(f"{root}/clean").read_all().drop_columns(["run_date"]).sort_by("id"),
            lambda root: lance(f"{root}/lance").sort_by("id"),
        )
    )
    assert clean[0] == clean[1]
    assert table[0] == table[1]
    refused = hanclip("search", f"{bucket}/out", "--id", "noto-1f34e", "--html", f"{bucket}/found.html", code=2)
    assert "not a file on this machine" in refused["message"]


def test_a_table_replaces_the_previous_one(s3: S3Server) -> None:
    assert_tables_are_replaced(f"{s3.bucket()}/dedup/dedup.parquet")
