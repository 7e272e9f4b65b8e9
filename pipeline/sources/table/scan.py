"""Lists tables: Parquet, CSV, TSV and JSON lines, with image bytes or image URIs, texts, or both.

Ids come from a column, else from the image URI as written, else from `<file>#<row>`. A record's fingerprint comes from
the column named by the user, else is a hash of image URI and text, or for image bytes the file's fingerprint and row.

Records are stored, so their ids and image URIs carry no credentials: a presigned URL loses its query, and the reader
takes the full URL from the table again. A URL that is signed again is still the same record. An image that is in the
text itself is stored as a short marker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import EmptySourceError, SourceError
from pipeline.sources.collector import RecordCollector
from pipeline.sources.containers.damage import Container, Damage
from pipeline.sources.contract import Sink, SourceSpec
from pipeline.sources.detect import files_of
from pipeline.sources.extra import choose_extra
from pipeline.sources.references.image import ImageReference, parse, stored_id
from pipeline.sources.skipped import SkipTally
from pipeline.sources.table.columns import check_columns, resolve_columns, role_names
from pipeline.sources.table.contract import TableColumns, TableFile
from pipeline.sources.table.open import open_table
from pipeline.storage import ObjectInfo, ReadPolicy


def scan(config: SourceConfig, sink: Sink, out: str = "") -> SourceSpec:
    """List every row of every table.

    Raises:
        SourceError: no table is found, columns are missing or conflict, an id is null, or too many cannot be read.
        StorageError: the store is down, or refuses all tables.
    """
    collector = RecordCollector(sink, config.limit)
    damage = Damage(config, collector, "tables")
    columns: TableColumns | None = None
    found, texts, tally = pa.schema([]), 0, SkipTally()
    hosts: set[str] = set()
    for info, name in files_of(config, "table", out, tally):
        with damage.reading(Container(info, name)), _opened(info, config) as table:
            if table.schema.names:  # a text file may have neither rows nor a header
                columns = columns or resolve_columns(table.schema, config, info.uri)
                check_columns(columns, table.schema, info.uri)
                texts += _scan_file(_File(info, name, table, columns, hosts), collector)
                found = _unite(found, table.schema, info.uri)
        if collector.full:
            break
    damage.finish()
    collector.flush()
    if columns is None or not collector.rows:
        raise EmptySourceError(f"The tables in {', '.join(config.uris)} have no rows. Correct the address.")
    taken = set(role_names(columns))
    extra = choose_extra(pa.schema([column for column in found if column.name not in taken]), config)
    has_images, has_texts = columns.image is not None, columns.text is not None
    known = None if collector.full else texts
    columns = replace(columns, one_host=len(hosts) == 1 and "" not in hosts)
    rows, notes = collector.rows, tuple(damage.notes)
    spec = SourceSpec("table", config, has_images, has_texts, extra, rows, columns, notes, known)
    return replace(spec, damage=damage.failures, skipped=tally.skipped())


@contextmanager
def _opened(info: ObjectInfo, config: SourceConfig) -> Iterator[TableFile]:
    table = open_table(info.uri, ReadPolicy.of(config))
    try:
        yield table
    finally:
        table.close()


def _unite(known: pa.Schema, new: pa.Schema, uri: str) -> pa.Schema:
    try:
        return pa.unify_schemas([known, new], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SourceError(
            f"The columns of {uri} differ from the other tables': {error}. Give each column one type."
        ) from error


@dataclass(frozen=True, slots=True)
class _File:
    """A table being scanned; `name` is its name in ids, and `hosts` takes those of its images ("": no web host)."""

    info: ObjectInfo
    name: str
    table: TableFile
    columns: TableColumns
    hosts: set[str]


def _scan_file(file: _File, collector: RecordCollector) -> int:
    """Collect the rows; returns how many of them have a text."""
    columns, start, texts = file.columns, 0, 0
    image = columns.image if columns.image_is_uri else None
    names = [name for name in (columns.id, image, columns.text, columns.fingerprint) if name]
    size_bytes = None if image or not columns.image else file.table.mean_bytes(columns.image)
    for batch in file.table.scan(list(dict.fromkeys(names))):
        rows = range(start, start + len(next(iter(batch.values()))))
        start = rows.stop
        written = batch[image] if image else None
        references = [parse(value, file.info.uri) if value else None for value in written] if written else None
        if references and len(file.hosts) < 2:
            file.hosts.update(storage.web_host(known.uri) for known in references if known and known.uri)
        ids = _ids(file, rows, batch, references)
        uris = _uris(file, rows, references)
        fingerprints = _fingerprints(file, rows, batch, uris)
        count, nothing = len(rows), [None] * len(rows)
        container = [file.info.uri] * count
        collector.add_columns(ids, uris, nothing, container, list(rows), [size_bytes] * count, fingerprints)
        texts += sum(text is not None for text in batch[columns.text]) if columns.text else 0
        if collector.full:
            break
    return texts


def _ids(
    file: _File, rows: range, batch: dict[str, list[Any]], references: Sequence[ImageReference | None] | None
) -> list[str]:
    if file.columns.id:
        return [stored_id(value) for value in _strings(file, file.columns.id, rows, batch)]
    own = [f"{file.name}#{row}" for row in rows]
    if references is None or file.columns.image is None:
        return own
    pairs = zip(references, batch[file.columns.image], own, strict=True)
    return [stored_id(written) if reference else name for reference, written, name in pairs]


def _strings(file: _File, name: str, rows: range, batch: dict[str, list[Any]]) -> list[str]:
    """A column without nulls, as text."""
    values = batch[name]
    for value, row in zip(values, rows, strict=True):
        if value is None or value == "":
            raise SourceError(f"Row {row} of {file.info.uri} has no {name}. Fill it in, or name another column.")
    return [str(value) for value in values]


def _uris(file: _File, rows: range, references: Sequence[ImageReference | None] | None) -> list[str | None]:
    if references is None:
        own = f"{file.info.uri}#"
        return [f"{own}{row}" for row in rows] if file.columns.image else [None] * len(rows)
    return [reference.stored if reference else None for reference in references]


def _fingerprints(file: _File, rows: range, batch: dict[str, list[Any]], uris: Sequence[str | None]) -> list[str]:
    columns = file.columns
    texts = batch[columns.text] if columns.text else [None] * len(rows)
    if columns.fingerprint:
        marks = _strings(file, columns.fingerprint, rows, batch)
        return [_mark(mark, text) for mark, text in zip(marks, texts, strict=True)] if columns.text else marks
    if columns.image and not columns.image_is_uri:
        return [f"{file.info.fingerprint}-{row}" for row in rows]
    return [_digest(uri, text) for uri, text in zip(uris, texts, strict=True)]


def _mark(mark: str, text: Any) -> str:
    """The user's fingerprint covers the image alone, so the text is hashed into the record's."""
    return f"{mark}+{_digest(None, text)[:16]}"


def _digest(uri: str | None, text: Any) -> str:
    return blake2b(f"{uri}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
