"""PostgreSQL with the extension pgvector: a table, and its watermark as a row of the table `hanclip_sync`.

Each request is one transaction, so readers see a request whole or not at all. Rows arrive by COPY in a temporary table
and are inserted, or replace those of the same ids, from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from pipeline.curation.sync.contract import HELD, SyncColumns, SyncTarget, held_table
from pipeline.curation.sync.registry import DATABASES
from pipeline.curation.sync.settings import CURE, MARKS
from pipeline.curation.sync.targets.errors import refused, rejected, unreachable
from pipeline.curation.values.pgvector import NAMES, copy_line, literals, sql_types
from pipeline.curation.vectors import matrix
from pipeline.errors import UsageError

_PAGE_ROWS = 10_000
_CONNECT_S = 20
_MARKS = sql.Identifier(MARKS)
_HELD = sql.SQL(", ").join(map(sql.Identifier, HELD.names))


def connect(dest: str, collection: str) -> SyncTarget:
    """The table `collection` of the database at `dest`, a postgresql:// URL."""
    if "password=" in dest.lower():
        raise UsageError("The URL of the database holds a password: set PGPASSWORD in the environment, or ~/.pgpass.")
    with _translated(dest):
        # Whatever PGCLIENTENCODING and the database say: no other encoding has all characters.
        connection = psycopg.connect(dest, autocommit=True, connect_timeout=_CONNECT_S, client_encoding="utf8")
        return _PgvectorTarget(connection, dest, collection)


class _PgvectorTarget:
    def __init__(self, connection: psycopg.Connection[Any], dest: str, collection: str) -> None:
        self._connection, self._dest, self._collection = connection, dest, collection
        self._table = sql.Identifier(collection)
        self._columns: SyncColumns | None = None

    def mark(self) -> str | None:
        if not self._exists(MARKS):
            return None
        query = sql.SQL("SELECT watermark FROM {} WHERE collection = %s").format(_MARKS)
        found = self._rows(query, [self._collection])
        return str(found[0][0]) if found else None

    def move_mark(self, text: str) -> None:
        query = sql.SQL(
            "INSERT INTO {} (collection, watermark) VALUES (%s, %s) "
            "ON CONFLICT (collection) DO UPDATE SET watermark = excluded.watermark"
        )
        self._run(query.format(_MARKS), [self._collection, text])

    def prepare(self, columns: SyncColumns) -> None:
        NAMES.check(columns.names, CURE)
        self._columns = columns
        types = {**sql_types(columns.scalars), **dict.fromkeys(columns.vectors, f"vector({columns.dim})")}
        parts = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in types.items()]
        key = sql.SQL("PRIMARY KEY ({})").format(sql.Identifier("id"))
        with _translated(self._dest), self._connection.transaction():
            self._run(sql.SQL("CREATE EXTENSION IF NOT EXISTS vector"))
            self._run(
                sql.SQL("CREATE TABLE IF NOT EXISTS {} (collection text PRIMARY KEY, watermark text NOT NULL)").format(
                    _MARKS
                )
            )
            self._run(
                sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(self._table, sql.SQL(", ").join([*parts, key]))
            )
        self._refuse_other_vectors(columns)

    def _refuse_other_vectors(self, columns: SyncColumns) -> None:
        query = sql.SQL(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass"
        )
        kinds = dict(self._rows(query, [self._table.as_string(self._connection)]))
        if any(kinds.get(name) != f"vector({columns.dim})" for name in columns.vectors):
            raise UsageError(
                f"The table {self._collection} at {self._dest} does not have {' and '.join(columns.vectors)} of "
                f"{columns.dim} numbers: name another one with --collection, or delete it."
            )

    def count(self) -> int:
        if not self._exists(self._collection):
            return 0
        return int(self._rows(sql.SQL("SELECT count(*) FROM {}").format(self._table))[0][0])

    def held(self) -> Iterator[pa.Table]:
        if not self._exists(self._collection):
            return
        query = sql.SQL("SELECT {} FROM {}").format(_HELD, self._table)
        with _translated(self._dest), self._connection.transaction(), self._connection.cursor("held") as cursor:
            cursor.execute(query)
            while rows := cursor.fetchmany(_PAGE_ROWS):
                yield held_table(*zip(*rows, strict=True))

    def held_of(self, ids: Sequence[str]) -> pa.Table:
        if not self._exists(self._collection):
            return HELD.empty_table()
        query = sql.SQL("SELECT {} FROM {} WHERE id = ANY(%s)").format(_HELD, self._table)
        rows = self._rows(query, [list(ids)])
        return held_table([row[0] for row in rows], [row[1] for row in rows])

    def put(self, rows: pa.Table, new: bool) -> None:
        assert self._columns is not None
        names = [sql.Identifier(name) for name in self._columns.names]
        listed = sql.SQL(", ").join(names)
        replaced = sql.SQL(", ").join(sql.SQL("{} = excluded.{}").format(name, name) for name in names)
        with _translated(self._dest), self._connection.transaction(), self._connection.cursor() as cursor:
            # The sync's columns alone: others may have added some that must not be null.
            copied = sql.SQL("CREATE TEMP TABLE arrived ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA")
            cursor.execute(copied.format(listed, self._table))
            with cursor.copy(sql.SQL("COPY arrived ({}) FROM STDIN").format(listed)) as copy:
                for line in _lines(rows, self._columns):
                    copy.write(line)
            cursor.execute(
                sql.SQL("INSERT INTO {} ({}) SELECT {} FROM arrived ON CONFLICT (id) DO UPDATE SET {}").format(
                    self._table, listed, listed, replaced
                )
            )

    def remove(self, ids: Sequence[str]) -> None:
        self._run(sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(self._table), [list(ids)])

    def finish(self) -> None:
        """PostgreSQL needs nothing."""

    def close(self) -> None:
        self._connection.close()

    def _exists(self, name: str) -> bool:
        query = sql.SQL("SELECT to_regclass(%s) IS NOT NULL")
        return bool(self._rows(query, [sql.Identifier(name).as_string(self._connection)])[0][0])

    def _rows(self, query: sql.SQL | sql.Composed, values: Sequence[Any] = ()) -> list[Any]:
        with _translated(self._dest), self._connection.cursor() as cursor:
            return list(cursor.execute(query, values).fetchall())

    def _run(self, query: sql.SQL | sql.Composed, values: Sequence[Any] = ()) -> None:
        with _translated(self._dest):
            self._connection.execute(query, values)


def _lines(rows: pa.Table, columns: SyncColumns) -> Iterator[str]:
    cells = literals(rows.select(columns.scalars.names))
    for name in columns.vectors:
        cells.append([json.dumps(values, separators=(",", ":")) for values in matrix(rows[name]).tolist()])
    return map(copy_line, zip(*cells, strict=True))


@contextmanager
def _translated(dest: str) -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.InvalidPassword, psycopg.errors.InvalidAuthorizationSpecification) as error:
        raise refused(dest, DATABASES["pgvector"].credentials) from error
    except psycopg.errors.FeatureNotSupported as error:
        raise UsageError(f"The server at {dest} lacks the extension pgvector ({error}): install it there.") from error
    except psycopg.OperationalError as error:
        if "password" in str(error) or "authentication" in str(error):
            raise refused(dest, DATABASES["pgvector"].credentials) from error
        raise unreachable(dest, error) from error
    except psycopg.Error as error:
        raise rejected(dest, error) from error
