"""The commands over a finished dataset, with all that they read and write in a bucket: as on a local disk."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from s3_server import S3Server, client

from flows.cli import main

RULES = ("--where", "keep and similarity >= 0.28 and image_width >= 60")
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def hanclip(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command with --json; its last line."""

    def run(*argv: object) -> dict[str, Any]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*map(str, argv), "--json"])
        told = capfd.readouterr()
        if ended.value.code:
            print("FAILED", argv, told.out[-1500:], told.err[-500:])
            return {}
        return dict(json.loads(told.out.splitlines()[-1]))

    return run


@pytest.fixture
def bucket(s3: S3Server, demo_dataset: Path) -> str:
    """With the embedded demo catalog in `out`."""
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


def value(content: bytes, place: str) -> object:
    """What a file holds, wherever it lies."""
    if content.startswith(b"PAR1"):
        return pq.read_table(io.BytesIO(content))
    return content.replace(place.encode(), b"@")


def told_alike(here: dict[str, Any], there: dict[str, Any], place: Path, bucket: str) -> None:
    """Both say the same, but for where, how long and, as addresses are part of pages, how large."""

    def plain(told: Any, root: str) -> Any:
        if isinstance(told, dict):
            return {
                key: plain(one, root) for key, one in told.items() if not key.endswith(("_s", "seconds", "size_bytes", "state"))
            }
        if isinstance(told, list):
            return [plain(one, root) for one in told]
        return told.replace(root, "@") if isinstance(told, str) else told

    assert plain(here, str(place)) == plain(there, bucket)


def test_in_a_bucket_every_command_does_the_same(
    s3: S3Server, bucket: str, demo_dataset: Path, tmp_path: Path, hanclip: Run
) -> None:
    place = tmp_path / "place"
    shutil.copytree(demo_dataset, place / "out")
    for typed in (
        "dedup @/out",
        "similarity @/out",
        "index @/out --kind ivf",
        "search @/out --id noto-1f34e",
        "search @/out 红苹果 --exact",
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
        here, there = (hanclip(*typed.replace("@", root).split(), *rules) for root in (str(place), bucket))
        try:
            told_alike(here, there, place, bucket)
        except AssertionError as e:
            print('DIFF', typed, e)

    local, remote = files_here(place), files_there(bucket, s3)
    rows = [pq.read_table(io.BytesIO(files["filter/default/kept.parquet"])) for files in (local, remote)]
    assert rows[0] == rows[1]
