"""Lists tables: Parquet, CSV, TSV and JSON lines, with image bytes or image URIs, texts, or both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa

from pipeline.config import SourceConfig
from pipeline.errors import EmptySourceError
from pipeline.sources.collector import RecordCollector
from pipeline.sources.containers.damage import Container, Damage
from pipeline.sources.contract import Sink, SourceSpec
from pipeline.sources.detect import files_of
from pipeline.sources.extra import choose_extra, unite
from pipeline.sources.skipped import SkipTally
from pipeline.sources.table.columns import check_columns, resolve_columns, role_names
from pipeline.sources.table.contract import TableColumns, TableFile
from pipeline.sources.table.open import open_table
from pipeline.sources.table.records import ListedFile, collect
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
    found, counts, tally = pa.schema([]), Counter[str](), SkipTally()
    hosts: set[str] = set()
    for info, name in files_of(config, "table", out, tally):
        with damage.reading(Container(info, name)), _opened(info, config) as table:
            if table.schema.names:  # a text file may have neither rows nor a header
                columns = columns or resolve_columns(table, config, info.uri)
                check_columns(columns, table.written, info.uri)
                counts += collect(ListedFile(info, name, table, columns, config.captions, hosts), collector)
                found = unite(found, table.schema, config, info.uri)
        if collector.full:
            break
    damage.finish()
    collector.flush()
    if columns is None or not collector.rows:
        raise EmptySourceError(f"The tables in {', '.join(config.uris)} have no rows. Correct the address.")
    taken = set(role_names(columns))
    extra = choose_extra(pa.schema([column for column in found if column.name not in taken]), config)
    has_images, has_texts = columns.image is not None, columns.text is not None
    known = None if collector.full else counts["texts"]
    columns = replace(columns, one_host=len(hosts) == 1 and "" not in hosts)
    notes = (*damage.notes, *_notes(columns, counts, config))
    spec = SourceSpec("table", config, has_images, has_texts, extra.schema, collector.rows, columns, notes, known)
    return replace(spec, damage=damage.failures, skipped=tally.skipped(), renamed=extra.renamed)


@contextmanager
def _opened(info: ObjectInfo, config: SourceConfig) -> Iterator[TableFile]:
    table = open_table(info.uri, ReadPolicy.of(config))
    try:
        yield table
    finally:
        table.close()


def _notes(columns: TableColumns, counts: Counter[str], config: SourceConfig) -> Iterator[str]:
    """What of the rows is left out."""
    if counts["captions"] and config.captions == "first":
        yield (
            f"{counts['captions']:,} rows have several captions in {columns.text}, and the first is taken: "
            "--captions joined takes all, --captions rows makes a record of each."
        )
    if counts["images"]:
        yield f"{counts['images']:,} rows have several images in {columns.image}, and the first is taken."
