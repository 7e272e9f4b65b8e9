"""Sources made of real files, scanned and read back."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline import sources
from pipeline.config import SourceConfig
from pipeline.records import RECORDS, RawRecord, Record
from pipeline.sources import SourceSpec


def scan(*uris: object, out: object = "", **options: Any) -> tuple[SourceSpec, list[Record]]:
    """The spec of a source and all its records, every batch checked against the contract."""
    batches: list[pa.RecordBatch] = []
    options = {"retry_timeout_s": 0, "read_timeout_s": 5, **options}
    spec = sources.scan(SourceConfig(uris=tuple(map(str, uris)), **options), batches.append, str(out))
    assert all(batch.schema.equals(RECORDS) and 0 < batch.num_rows <= 8192 for batch in batches)
    records = [Record(**row) for batch in batches for row in batch.to_pylist()]
    assert spec.records == len(records)
    return spec, records


def read(spec: SourceSpec, records: Sequence[Record], chunk: int = 1000) -> dict[str, RawRecord]:
    """Results by record id, read in chunks by one reader."""
    reader = sources.reader(spec)
    try:
        found = [raw for at in range(0, len(records), chunk) for raw in reader.read(records[at : at + chunk])]
    finally:
        reader.close()
    assert [raw.record for raw in found] == list(records)
    return {raw.record.id: raw for raw in found}


def reasons(found: dict[str, RawRecord]) -> dict[str, str]:
    """Why records failed, by id; those that did not are left out."""
    return {key: f"{raw.failure.stage}/{raw.failure.reason}" for key, raw in found.items() if raw.failure}


def put(folder: Path, files: dict[str, bytes | str]) -> Path:
    """Files under `folder`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def tar_bytes(members: Iterable[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002
    """A tar in memory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def gzipped(data: bytes) -> bytes:
    """The same bytes at every call."""
    return gzip.compress(data, 1, mtime=0)
