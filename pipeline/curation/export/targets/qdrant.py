"""Exports points for Qdrant as JSON lines, and the definition of their collection.

    points-00000.jsonl    {"id": UUID, "vector": {"image_embedding": [...]}, "payload": {"id": ..., ...}}
    collection.json       the request body that creates the collection

Qdrant accepts integers or UUIDs as ids. A point's id is the version 5 UUID of the record's id, the same in every
export, so loading again overwrites points and never duplicates them. The payload holds the record's id.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa

from pipeline import storage
from pipeline.curation.export.contract import Exported, ExportRequest
from pipeline.curation.export.parts import Parts
from pipeline.curation.values.qdrant import NAMES, payloads, point_id
from pipeline.curation.vectors import matrix
from pipeline.storage import write_lines

_ROWS = 4096


def export(request: ExportRequest) -> Exported:
    """Write the points, then the collection's definition."""
    parts = Parts(request, NAMES)
    for number, table in enumerate(parts):
        write_lines(_uri(request, number), _points(table, parts))
    storage.delete_numbered(partial(_uri, request), parts.count)
    vectors = {name: {"size": parts.dim, "distance": "Cosine"} for name in parts.vectors}
    storage.overwrite(
        storage.join(request.dest, "collection.json"), json.dumps({"vectors": vectors}, indent=2).encode()
    )
    return Exported({storage.join(request.dest, "points-*.jsonl"): parts.rows}, parts.left_out)


def _uri(request: ExportRequest, number: int) -> str:
    return storage.join(request.dest, f"points-{number:05d}.jsonl")


def _points(table: pa.Table, parts: Parts) -> Iterator[dict[str, Any]]:
    for at in range(0, table.num_rows, _ROWS):
        some = table.slice(at, _ROWS)
        columns = [matrix(some[name]).tolist() for name in parts.vectors]
        for payload, *vectors in zip(payloads(some.select(parts.scalars)), *columns, strict=True):
            named = dict(zip(parts.vectors, vectors, strict=True))
            yield {"id": point_id(payload["id"]), "vector": named, "payload": payload}
