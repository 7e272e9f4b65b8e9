r"""Exports files for PostgreSQL's COPY (extension pgvector), and the script that loads them.

    rows-00000.copy    text format: tabs between cells, \N for null, vectors as [x,y,...]
    load.sql           run it in this folder: psql -v ON_ERROR_STOP=1 -f load.sql

In one transaction, the script creates the table `hanclip` unless it exists, empties it, and loads all files.
NUL characters are dropped, since PostgreSQL's `text` cannot hold them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from shlex import quote

import pyarrow as pa

from pipeline import storage
from pipeline.curation.export.contract import Exported, ExportRequest
from pipeline.curation.export.parts import Parts
from pipeline.curation.values.pgvector import NAMES, copy_line, literals, sql_types
from pipeline.curation.vectors import matrix
from pipeline.scratch.quoting import quoted_name

_ROWS = 4096


def export(request: ExportRequest) -> Exported:
    """Write the rows, then the script."""
    parts = Parts(request, NAMES)
    for number, table in enumerate(parts):
        with storage.staged_file(_uri(request, number)) as path, path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(_lines(table, parts))
    storage.delete_numbered(partial(_uri, request), parts.count)
    names = [storage.name(_uri(request, number)) for number in range(parts.count)]
    storage.overwrite(storage.join(request.dest, "load.sql"), _script(parts, names).encode())
    return Exported(
        {storage.join(request.dest, "rows-*.copy"): parts.rows},
        parts.left_out,
        f"cd {quote(request.dest)} && psql -v ON_ERROR_STOP=1 -f load.sql",
    )


def _uri(request: ExportRequest, number: int) -> str:
    return storage.join(request.dest, f"rows-{number:05d}.copy")


def _lines(table: pa.Table, parts: Parts) -> Iterator[str]:
    for at in range(0, table.num_rows, _ROWS):
        some = table.slice(at, _ROWS)
        columns = literals(some.select(parts.scalars))
        columns += [[_vector(value) for value in matrix(some[name]).tolist()] for name in parts.vectors]
        yield from map(copy_line, zip(*columns, strict=True))


def _vector(values: list[float]) -> str:
    return json.dumps(values, separators=(",", ":"))


def _script(parts: Parts, files: list[str]) -> str:
    names = [*parts.scalars, *parts.vectors]
    kinds = [*sql_types(pa.schema([parts.schema.field(name) for name in parts.scalars])).values()]
    kinds += [f"vector({parts.dim})"] * len(parts.vectors)
    columns = [f"    {quoted_name(name)} {kind}" for name, kind in zip(names, kinds, strict=True)]
    columns[0] += " PRIMARY KEY"
    listed = ", ".join(map(quoted_name, names))
    lines = [
        "SET client_encoding = 'UTF8';",  # of this file and of the others, whatever the terminal has
        "BEGIN;",
        "CREATE EXTENSION IF NOT EXISTS vector;",
        "CREATE TABLE IF NOT EXISTS hanclip (\n" + ",\n".join(columns) + "\n);",
        "TRUNCATE hanclip;",
        *(f"\\copy hanclip ({listed}) FROM '{file}'" for file in files),
        "COMMIT;",
    ]
    return "\n".join(lines) + "\n"
