"""LanceDB: a table of a database in a local folder or a bucket.

Each request commits one version of the table, so readers see a request whole or not at all. Watermarks are rows of the
table `hanclip_sync`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lancedb
import pyarrow as pa

from pipeline import storage
from pipeline.curation.sync.contract import HELD, SyncColumns, SyncTarget
from pipeline.curation.sync.settings import CURE, MARKS
from pipeline.curation.sync.targets.errors import rejected
from pipeline.curation.values.lance import NAMES, lance_schema, lance_table
from pipeline.errors import UsageError
from pipeline.scratch.quoting import quoted

_MARKS = pa.schema([pa.field("collection", pa.string(), nullable=False), pa.field("watermark", pa.string())])
#: A sync of more requests leaves many small fragments, which are merged at its end.
_MANY_REQUESTS = 4


def connect(dest: str, collection: str) -> SyncTarget:
    """The table `collection` at `dest`: a local folder or a URL."""
    # Lance reads credentials and endpoint from the usual AWS settings, but rejects an endpoint without TLS by default.
    options = None if storage.is_local(dest) else {"allow_http": "true"}
    with _translated(dest):
        return _LanceTarget(lancedb.connect(dest, storage_options=options), dest, collection)


class _LanceTarget:
    def __init__(self, database: Any, dest: str, collection: str) -> None:
        self._database, self._dest, self._collection = database, dest, collection
        self._tables: dict[str, Any] = {}
        self._requests = 0
        self._vectors: tuple[str, ...] = ()

    def mark(self) -> str | None:
        table = self._table(MARKS)
        if table is None:
            return None
        with _translated(self._dest):
            table.checkout_latest()
            found = table.search().where(f"collection = {quoted(self._collection)}").limit(1).to_arrow().to_pylist()
        return str(found[0]["watermark"]) if found else None

    def move_mark(self, text: str) -> None:
        row = pa.table({"collection": [self._collection], "watermark": [text]}, schema=_MARKS)
        self._merge(self._made(MARKS, _MARKS), row, "collection")

    def prepare(self, columns: SyncColumns) -> None:
        NAMES.check(columns.names, CURE)
        vector = pa.list_(pa.float32(), columns.dim)
        self._vectors = columns.vectors
        schema = pa.schema([*lance_schema(columns.scalars), *(pa.field(name, vector) for name in columns.vectors)])
        have = self._made(self._collection, schema).schema
        kinds = {name: have.field(name).type for name in have.names}
        if any(kinds.get(name) != vector for name in columns.vectors):
            raise UsageError(
                f"The table {self._collection} in {self._dest} does not have {' and '.join(columns.vectors)} of "
                f"{columns.dim} numbers: name another one with --collection, or delete it."
            )

    def count(self) -> int:
        table = self._table(self._collection)
        with _translated(self._dest):
            return int(table.count_rows()) if table is not None else 0

    def held(self) -> Iterator[pa.Table]:
        table = self._table(self._collection)
        if table is None:
            return
        with _translated(self._dest):
            for batch in table.search().select(HELD.names).to_batches():
                yield pa.Table.from_batches([batch]).select(HELD.names).cast(HELD)

    def held_of(self, ids: Sequence[str]) -> pa.Table:
        table = self._table(self._collection)
        if table is None:
            return HELD.empty_table()
        with _translated(self._dest):
            found = table.search().where(_among(ids)).select(HELD.names).to_arrow()  # an id may be there twice
        return found.select(HELD.names).cast(HELD)

    def put(self, rows: pa.Table, new: bool) -> None:
        table = self._table(self._collection)
        rows = _stored(rows, self._vectors)
        self._requests += 1
        if not new:
            self._merge(table, rows, "id")
            return
        with _translated(self._dest):
            table.add(rows)  # A merge would compare with every row of the table.

    def remove(self, ids: Sequence[str]) -> None:
        self._requests += 1
        with _translated(self._dest):
            self._table(self._collection).delete(_among(ids))

    def finish(self) -> None:
        if self._requests > _MANY_REQUESTS:
            with _translated(self._dest):
                self._table(self._collection).optimize()

    def close(self) -> None:
        """A LanceDB connection holds nothing open."""

    def _merge(self, table: Any, rows: pa.Table, key: str) -> None:
        with _translated(self._dest):
            table.merge_insert(key).when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def _made(self, name: str, schema: pa.Schema) -> Any:
        if self._table(name) is None:
            with _translated(self._dest):
                self._tables[name] = self._database.create_table(name, schema=schema, exist_ok=True)
        return self._tables[name]

    def _table(self, name: str) -> Any:
        """The table; None if it does not exist."""
        if name not in self._tables:
            with _translated(self._dest):
                try:
                    self._tables[name] = self._database.open_table(name)
                except ValueError as error:
                    if "not found" not in str(error):
                        raise
                    return None
        return self._tables[name]


def _among(ids: Sequence[str]) -> str:
    return f"id IN ({', '.join(map(quoted, ids))})"


def _stored(rows: pa.Table, vectors: Sequence[str]) -> pa.Table:
    """The rows with the types of the table, whatever the dataset stores."""
    stored = lance_table(rows.drop_columns(list(vectors)))
    for name in vectors:
        kind = pa.list_(pa.float32(), rows.schema.field(name).type.list_size)
        stored = stored.append_column(pa.field(name, kind), rows[name].cast(kind))
    return stored


@contextmanager
def _translated(dest: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise rejected(storage.printable(dest), error) from error
