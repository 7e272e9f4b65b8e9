"""Milvus: a collection of a server, or of a local file of Milvus Lite.

The primary key is the record's id. Watermarks are rows of the collection `hanclip_sync`, in pieces, since a value has
at most 65,535 bytes; it has a vector because each collection must. Reads see every change before them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from pipeline.curation.sync.contract import HELD, SyncColumns, SyncTarget, held_table
from pipeline.curation.sync.settings import CURE, MARKS
from pipeline.curation.sync.targets.errors import refused, rejected, too_large, unreachable
from pipeline.curation.values.milvus import LONGEST_BYTES, NAMES, fields
from pipeline.curation.values.milvus import rows as milvus_rows
from pipeline.curation.vectors import matrix
from pipeline.errors import UsageError

_TOKEN = "MILVUS_TOKEN"
_PAGE_ROWS = 4096
_TIMEOUT_S = 120
_PIECE_CHARACTERS = 16_000
_REFUSED = ("auth check failure", "unauthenticated", "not authorized", "permission deny")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_AWAY = ("fail connecting", "unavailable", "failed to connect", "deadline", "connection refused")
_TOO_LARGE = "larger than max"


def connect(dest: str, collection: str) -> SyncTarget:
    """The collection at `dest`: a URL or a local file."""
    if "://" not in dest and not dest.endswith(".db"):
        raise UsageError(f"{dest} is no file of Milvus Lite, whose names end with .db: correct DEST.")
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # It logs errors that are raised too.
    with _translated(dest):
        client = MilvusClient(uri=dest, token=os.environ.get(_TOKEN, ""), timeout=_TIMEOUT_S)
        return _MilvusTarget(client, dest, collection)


class _MilvusTarget:
    def __init__(self, client: MilvusClient, dest: str, collection: str) -> None:
        self._client, self._dest, self._collection = client, dest, collection
        self._loaded: set[str] = set()
        self._columns: SyncColumns | None = None

    def mark(self) -> str | None:
        if not self._exists(MARKS):
            return None
        with _translated(self._dest):
            found = self._client.query(
                MARKS, filter=f"collection == {_quoted(self._collection)}", output_fields=["piece", "pieces", "text"]
            )
        found.sort(key=lambda row: row["piece"])
        pieces = found[0]["pieces"] if found else 0
        return "".join(row["text"] for row in found[:pieces]) if found else None

    def move_mark(self, text: str) -> None:
        pieces = [text[first : first + _PIECE_CHARACTERS] for first in range(0, len(text), _PIECE_CHARACTERS)]
        rows = [
            {
                "id": f"{self._collection}#{number:06d}",
                "collection": self._collection,
                "piece": number,
                "pieces": len(pieces),
                "text": piece,
                "vector": [0.0, 1.0],
            }
            for number, piece in enumerate(pieces)
        ]
        with _translated(self._dest):
            self._client.upsert(MARKS, rows)

    def prepare(self, columns: SyncColumns) -> None:
        NAMES.check(columns.names, CURE)
        self._columns = columns
        if not self._exists(MARKS):
            text = {"data_type": "VarChar", "max_length": LONGEST_BYTES}
            number = {"data_type": "Int64"}
            self._create(
                MARKS,
                [
                    {"name": "id", "is_primary": True, **text},
                    {"name": "collection", **text},
                    {"name": "piece", **number},
                    {"name": "pieces", **number},
                    {"name": "text", **text},
                ],
                {"vector": 2},
            )
        if not self._exists(self._collection):
            self._create(self._collection, fields(columns.scalars), dict.fromkeys(columns.vectors, columns.dim))
        with _translated(self._dest):
            known = self._client.describe_collection(self._collection)["fields"]
        dims = {field["name"]: field.get("params", {}).get("dim") for field in known}
        if any(int(dims.get(name) or 0) != columns.dim for name in columns.vectors):
            raise UsageError(
                f"The collection {self._collection} in {self._dest} does not have {' and '.join(columns.vectors)} of "
                f"{columns.dim} numbers: name another one with --collection, or delete it."
            )

    def count(self) -> int:
        if not self._exists(self._collection):
            return 0
        with _translated(self._dest):
            return int(self._client.query(self._collection, output_fields=["count(*)"])[0]["count(*)"])

    def held(self) -> Iterator[pa.Table]:
        """The rows in the order of their ids, page by page: the client's own iterator stumbles over quotes in ids."""
        last: str | None = None
        while self._exists(self._collection):
            after = "" if last is None else f"id > {_quoted(last)}"
            with _translated(self._dest):
                found = self._client.query(
                    *(self._collection, after),
                    output_fields=HELD.names,
                    limit=_PAGE_ROWS,
                    iterator="True",
                    reduce_stop_for_best="True",
                )
            if not found:
                return
            yield _held(found)
            last = max(row["id"] for row in found)

    def held_of(self, ids: Sequence[str]) -> pa.Table:
        if not self._exists(self._collection):
            return HELD.empty_table()
        with _translated(self._dest):
            return _held(self._client.query(self._collection, filter=_among(ids), output_fields=HELD.names))

    def put(self, rows: pa.Table, new: bool) -> None:
        assert self._columns is not None
        found = milvus_rows(rows.select(self._columns.scalars.names))
        for name in self._columns.vectors:
            for row, vector in zip(found, matrix(rows[name]).tolist(), strict=True):
                row[name] = vector
        with _translated(self._dest):
            self._client.upsert(self._collection, found)

    def remove(self, ids: Sequence[str]) -> None:
        with _translated(self._dest):
            self._client.delete(self._collection, filter=_among(ids))

    def finish(self) -> None:
        """Milvus needs nothing."""

    def close(self) -> None:
        self._client.close()

    def _exists(self, name: str) -> bool:
        if name not in self._loaded:
            with _translated(self._dest):
                if not self._client.has_collection(name):
                    return False
                self._client.load_collection(name)
            self._loaded.add(name)
        return True

    def _create(self, name: str, columns: list[dict[str, Any]], vectors: dict[str, int]) -> None:
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        for column in columns:
            kinds = {
                key: getattr(DataType, str(column[key]).upper())
                for key in ("data_type", "element_type")
                if key in column
            }
            own = {key: value for key, value in column.items() if key not in ("name", *kinds)}
            schema.add_field(column["name"], kinds.pop("data_type"), **kinds, **own)
        index = self._client.prepare_index_params()
        for vector, dim in vectors.items():
            schema.add_field(vector, DataType.FLOAT_VECTOR, dim=dim)
            index.add_index(vector, index_type="AUTOINDEX", metric_type="COSINE")
        with _translated(self._dest):
            self._client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")


def _among(ids: Sequence[str]) -> str:
    """A condition. The client does not escape ids that it is given as such."""
    return f"id in [{', '.join(map(_quoted, ids))}]"


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'


def _held(found: Sequence[dict[str, Any]]) -> pa.Table:
    return held_table(*([row[name] for row in found] for name in HELD.names))


@contextmanager
def _translated(dest: str) -> Iterator[None]:
    try:
        yield
    except MilvusException as error:
        text = str(error).lower()
        if any(sign in text for sign in _REFUSED):
            raise refused(dest, _TOKEN) from error
        if _TOO_LARGE in text:
            raise too_large(dest) from error
        raise (unreachable if any(sign in text for sign in _AWAY) else rejected)(dest, error) from error
