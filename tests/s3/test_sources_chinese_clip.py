"""The Chinese-CLIP authors' files in a bucket."""

from __future__ import annotations

import pytest

from pipeline import storage
from pipeline.errors import SourceError
from tests.fixtures.chinese_clip import IMAGES, PAIRS, muge, write_lmdb
from tests.fixtures.sources import read, scan

__all__ = ["muge"]


def test_a_bucket_is_read_like_a_disk_except_lmdb(s3, muge):
    bucket = s3.bucket()
    write_lmdb(muge / "lmdb" / "test", {1: IMAGES[7]}, [])
    for path in muge.rglob("*.*"):
        storage.upload(f"{bucket}/MUGE/{path.relative_to(muge)}", path)
    spec, records = scan(f"{bucket}/MUGE", split="valid", records="pairs")
    found = read(spec, records)
    assert {key: (raw.image, raw.text) for key, raw in found.items()} == PAIRS
    here = scan(muge, split="valid", records="pairs")[1]
    assert {record.id: record.source_fingerprint for record in records} == {
        record.id: record.source_fingerprint for record in here
    }
    with pytest.raises(
        SourceError, match=r"is an LMDB folder, which can only be read from a local disk\. Copy it here"
    ):
        scan(f"{bucket}/MUGE", split="test")
