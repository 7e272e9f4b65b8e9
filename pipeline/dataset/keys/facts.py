"""What the index holds of a file: which version it is of, and what its footer states.

In: files as listed, and the footers of embeddings files. Out: rows of `FACTS`, and `ShardFacts` from such rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import storage
from pipeline.dataset.compacted.segments import decode_segments, encode_segments
from pipeline.dataset.layout import DataFile
from pipeline.dataset.shard_file import ShardFacts

_SEGMENTS = ("segments", "quarantine_segments")
#: One row per file: its version in the listing, its rows and their smallest and largest id, and what its footer states,
#: if it has embeddings.
FACTS = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("first_id", pa.string()),
        pa.field("last_id", pa.string()),
        pa.field("shard_id", pa.string()),
        pa.field("attempt", pa.string()),
        pa.field("planned_by", pa.string()),
        pa.field("rows_planned", pa.int64()),
        pa.field("rows_embedded", pa.int64()),
        pa.field("rows_quarantined", pa.int64()),
        *(pa.field(name, pa.string()) for name in _SEGMENTS),
    ]
)


class FileVersion(NamedTuple):
    """A file of a dataset in one version: its name relative to the dataset, and size and fingerprint in the listing."""

    name: str
    size_bytes: int
    fingerprint: str

    @classmethod
    def of(cls, file: DataFile | storage.ObjectInfo, out: str) -> FileVersion:
        """The file in the dataset at `out`."""
        return cls(storage.relative(file.uri, out), file.size_bytes, file.fingerprint)


def facts_row(file: FileVersion, ids: pa.ChunkedArray, facts: ShardFacts | None) -> pa.Table:
    """One row of `FACTS`; `ids` are those of the file's rows."""
    bounds = pc.min_max(ids)
    stated: dict[str, Any] = {"rows": len(ids), "first_id": bounds["min"].as_py(), "last_id": bounds["max"].as_py()}
    if facts is not None:
        stated |= {field.name: getattr(facts, field.name) for field in fields(ShardFacts)}
        stated |= {name: encode_segments(stated[name]) for name in _SEGMENTS}
    return pa.Table.from_pylist([{**file._asdict(), **stated}], schema=FACTS)


def listed_files(facts: pa.Table) -> Iterator[FileVersion]:
    """The file of each row of `FACTS`."""
    columns = (facts[name].to_pylist() for name in FileVersion._fields)
    return map(FileVersion, *columns)


def shard_facts(facts: pa.Table) -> list[ShardFacts]:
    """What the footers state, of rows of `FACTS` that are of embeddings files."""
    names = [field.name for field in fields(ShardFacts)]
    rows = zip(*(facts[name].to_pylist() for name in names), strict=True)
    return [ShardFacts(**_decoded(dict(zip(names, row, strict=True)))) for row in rows]


def _decoded(stated: dict[str, Any]) -> dict[str, Any]:
    return stated | {name: decode_segments(stated, name) for name in _SEGMENTS}
