"""Test what a sync does with points of Qdrant that it did not make, and what it says of errors."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from pipeline.curation.sync.contract import SyncColumns
from pipeline.curation.values.qdrant import point_id
from pipeline.errors import RunError
from tests.fixtures.datasets import DIM, unit_vectors, vector_column

client = pytest.importorskip("qdrant_client")
qdrant = pytest.importorskip("pipeline.curation.sync.targets.qdrant")

KEYS = pa.schema([("id", pa.string()), ("source_fingerprint", pa.string())])


def rows(*ids: str) -> pa.Table:
    columns = {"id": ids, "source_fingerprint": ["1"] * len(ids)}
    return pa.table({**columns, "image_embedding": vector_column(unit_vectors(ids, DIM, ""))})


def test_points_of_others_are_deleted_unless_a_row_has_taken_their_place(tmp_path: Path) -> None:
    target = qdrant.connect(str(tmp_path), "shop")
    target.prepare(SyncColumns(KEYS, ("image_embedding",), DIM))
    target.put(rows("a", "b"), True)
    vector = {"image_embedding": [1.0] * DIM}
    foreign = [(5, {"id": "a"}), (point_id("x"), {"id": 7}), (point_id("b"), {"other": 1}), (point_id("y"), {})]
    points = [client.models.PointStruct(id=id_, vector=vector, payload=payload) for id_, payload in foreign]
    target._client.upsert("shop", points)
    [held] = target.held()
    names = [name for name in held["id"].to_pylist() if name != "a"]
    assert len(set(names)) == 4
    target.put(rows("b"), True)
    target.remove(names)
    [held] = target.held()
    assert sorted(held["id"].to_pylist()) == ["a", "b"]
    target.close()


@pytest.mark.parametrize(
    "error",
    [
        qdrant.UnexpectedResponse(400, "Bad Request", b'{"status":{"error":"disk is full"}}', httpx.Headers()),
        sqlite3.OperationalError("database or disk is full"),
        ValueError("disk is full"),
    ],
)
def test_an_error_says_why_and_what_to_do(error: Exception) -> None:
    said = r"at dest refused a request .*disk is full.* run the same command"
    with pytest.raises(RunError, match=said), qdrant._translated("dest"):
        raise error


def test_a_request_of_too_many_bytes_names_the_option() -> None:
    with pytest.raises(RunError, match="--batch-rows"), qdrant._translated("dest"):
        raise qdrant.UnexpectedResponse(413, "Payload Too Large", b"", httpx.Headers())
