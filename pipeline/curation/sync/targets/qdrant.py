"""Qdrant: a collection of a server, or of a local folder.

A point's id is the version 5 UUID of the record's id, its payload has the columns. Any other point is foreign: it is
held under a name that no record has, and so deleted with the rows that the dataset lacks. Watermarks are points without
vectors in the collection `hanclip_sync`. Every request waits until its change is applied.
"""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from qdrant_client import QdrantClient
from qdrant_client import models as api
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from pipeline.curation.sync.contract import HELD, SyncColumns, SyncTarget, held_table
from pipeline.curation.sync.settings import CURE, MARKS
from pipeline.curation.sync.targets.errors import refused, rejected, too_large, unreachable
from pipeline.curation.values.qdrant import NAMES, payloads, point_id
from pipeline.curation.vectors import matrix
from pipeline.errors import RunError, UsageError

_PAGE_ROWS = 4096
_TIMEOUT_S = 120
_KEY = "QDRANT_API_KEY"
_TOO_LARGE = 413
#: Before the id of a foreign point.
_FOREIGN = "\0point "


def connect(dest: str, collection: str) -> SyncTarget:
    """The collection at `dest`: a URL or a local folder."""
    if "://" not in dest:
        try:
            return _QdrantTarget(QdrantClient(path=dest), dest, collection)
        except RuntimeError as error:  # locked by another process
            raise RunError(f"{dest} cannot be opened ({error}): end the other process, or use a server.") from error
    key = os.environ.get(_KEY) or None
    with _translated(dest), warnings.catch_warnings(action="ignore"):  # of keys that go over http
        client = QdrantClient(url=dest, api_key=key, timeout=_TIMEOUT_S, check_compatibility=False)
        return _QdrantTarget(client, dest, collection)


class _QdrantTarget:
    def __init__(self, client: QdrantClient, dest: str, collection: str) -> None:
        self._client, self._dest, self._collection = client, dest, collection
        self._there = False
        self._vectors: tuple[str, ...] = ()

    def mark(self) -> str | None:
        with _translated(self._dest):
            if not self._client.collection_exists(MARKS):
                return None
            found = self._client.retrieve(MARKS, [point_id(self._collection)])
        return str((found[0].payload or {}).get("watermark", "")) if found else None

    def move_mark(self, text: str) -> None:
        point = api.PointStruct(
            id=point_id(self._collection), vector={}, payload={"collection": self._collection, "watermark": text}
        )
        with _translated(self._dest):
            self._client.upsert(MARKS, [point], wait=True)

    def prepare(self, columns: SyncColumns) -> None:
        NAMES.check(columns.names, CURE)
        self._vectors = columns.vectors
        wanted = {name: api.VectorParams(size=columns.dim, distance=api.Distance.COSINE) for name in columns.vectors}
        with _translated(self._dest):
            if not self._client.collection_exists(MARKS):
                self._client.create_collection(MARKS, vectors_config={})
            if not self._exists():
                self._client.create_collection(self._collection, vectors_config=wanted)
            params = self._client.get_collection(self._collection).config.params.vectors
        sizes = {name: vector.size for name, vector in params.items()} if isinstance(params, dict) else {}
        if any(sizes.get(name) != columns.dim for name in columns.vectors):
            raise UsageError(
                f"The collection {self._collection} in {self._dest} does not have {' and '.join(columns.vectors)} of "
                f"{columns.dim} numbers: name another one with --collection, or delete it."
            )

    def count(self) -> int:
        with _translated(self._dest):
            return self._client.count(self._collection, exact=True).count if self._exists() else 0

    def held(self) -> Iterator[pa.Table]:
        page: Any = None
        while self._exists():
            with _translated(self._dest):
                points, page = self._client.scroll(
                    self._collection, limit=_PAGE_ROWS, offset=page, with_payload=HELD.names, with_vectors=False
                )
            yield _held(points)
            if page is None:
                return

    def held_of(self, ids: Sequence[str]) -> pa.Table:
        if not self._exists():
            return HELD.empty_table()
        with _translated(self._dest):
            return _held(self._client.retrieve(self._collection, list(map(point_id, ids)), with_payload=HELD.names))

    def put(self, rows: pa.Table, new: bool) -> None:
        with _translated(self._dest):
            self._client.upsert(self._collection, list(_points(rows, self._vectors)), wait=True)

    def remove(self, ids: Sequence[str]) -> None:
        points: list[api.ExtendedPointId] = [point_id(id_) for id_ in ids if not id_.startswith(_FOREIGN)]
        foreign: list[api.ExtendedPointId] = [_foreign_point(id_) for id_ in ids if id_.startswith(_FOREIGN)]
        with _translated(self._dest):
            if foreign:  # a row that was sent may have taken the place of one
                found = self._client.retrieve(self._collection, foreign, with_payload=HELD.names)
                points += [point.id for point in found if _name_of(point).startswith(_FOREIGN)]
            if points:
                self._client.delete(self._collection, points_selector=api.PointIdsList(points=points), wait=True)

    def finish(self) -> None:
        """Qdrant needs nothing."""

    def close(self) -> None:
        self._client.close()

    def _exists(self) -> bool:
        if not self._there:
            with _translated(self._dest):
                self._there = self._client.collection_exists(self._collection)
        return self._there


def _points(rows: pa.Table, vectors: Sequence[str]) -> Iterator[api.PointStruct]:
    found = payloads(rows.drop_columns(list(vectors)))
    matrices = [matrix(rows[name]).tolist() for name in vectors]
    for payload, *values in zip(found, *matrices, strict=True):
        yield api.PointStruct(
            id=point_id(payload["id"]), vector=dict(zip(vectors, values, strict=True)), payload=payload
        )


def _held(points: Sequence[api.Record]) -> pa.Table:
    versions = [str((point.payload or {}).get(HELD.names[1], "")) for point in points]
    return held_table(list(map(_name_of, points)), versions)


def _name_of(point: api.Record) -> str:
    """The id of the record of a point; of a foreign point a name of its own."""
    id_ = (point.payload or {}).get(HELD.names[0])
    if isinstance(id_, str) and point_id(id_) == str(point.id):
        return id_
    return f"{_FOREIGN}{point.id}"


def _foreign_point(name: str) -> int | str:
    """The id of a foreign point that `_name_of` named."""
    id_ = name.removeprefix(_FOREIGN)
    return int(id_) if id_.isdigit() else id_


@contextmanager
def _translated(dest: str) -> Iterator[None]:
    try:
        yield
    except UnexpectedResponse as error:
        if error.status_code in (401, 403):
            raise refused(dest, _KEY) from error
        if error.status_code == _TOO_LARGE:
            raise too_large(dest) from error
        reason = f"{error.status_code} {error.reason_phrase}: {error.content.decode(errors='replace')}"
        raise rejected(dest, RunError(" ".join(reason.split()))) from error
    except (ResponseHandlingException, ApiException) as error:
        raise unreachable(dest, error) from error
    except (ValueError, OSError, sqlite3.Error) as error:  # of a local folder
        raise rejected(dest, error) from error
