"""Lists and reads a source in whichever format it has.

In: a `SourceConfig`, or a `SourceSpec` that a scan returned. Out: records in the order of the source, and a reader of
them. Options of other formats, and records without a place, are refused here for all formats alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pyarrow as pa

from pipeline.config import SourceConfig
from pipeline.errors import SourceError, UnsortedError
from pipeline.records import RawRecord, Record
from pipeline.sources.containers.damage import damaged, is_damage
from pipeline.sources.containers.unique_ids import in_front, own_id
from pipeline.sources.contract import RecordReader, Sink, SourceSpec
from pipeline.sources.detect import detect
from pipeline.sources.failures import failed
from pipeline.sources.registry import formats
from pipeline.vocabulary import Reason, SourceKind


def scan(config: SourceConfig, sink: Sink, out: str = "", start_over: Callable[[], None] | None = None) -> SourceSpec:
    """List the whole source: batches of `records.RECORDS`, at most 8,192 rows each, go to `sink`.

    Args:
        config: the source.
        sink: takes the batches.
        out: the output folder; nothing below it is part of any source.
        start_over: called when all that `sink` took is void, since a bucket turned out to list in no order and is
            listed again. Without it, that is an error.

    Raises:
        SourceError: the source cannot be planned as a whole.
        StorageError: listing or reading it failed.
    """
    while True:
        try:
            return _scanned(config, sink, out)
        except UnsortedError:  # once for each bucket: then it is known
            if start_over is None:
                raise
            start_over()


def _scanned(config: SourceConfig, sink: Sink, out: str) -> SourceSpec:
    kind = detect(config, out)
    _check_options(config, kind)
    return formats()[kind].scan(config, in_front(sink, config), out)


def reader(spec: SourceSpec) -> RecordReader:
    """A reader of the scanned source's records. Close it when done."""
    return _PlacedReader(formats()[spec.kind].reader(spec), spec)


def is_sequential(spec: SourceSpec, container: str | None) -> bool:
    """Whether reading this container of a scanned source out of order is expensive."""
    return container is not None and formats()[spec.kind].sequential(container, spec.details)


def holds_shards(spec: SourceSpec) -> bool:
    """Whether each container is a shard, or several if it is long."""
    return formats()[spec.kind].one_shard


def reopen(
    kind: SourceKind, config: SourceConfig, container: str | None, has_images: bool, has_texts: bool
) -> RecordReader:
    """A reader of records planned earlier, without a scan and without extra columns. Close it when done.

    Args:
        kind: the format.
        config: the source as it was planned.
        container: holds the first record to read; others are assumed to be alike.
        has_images: as the scan found.
        has_texts: as the scan found.
    """
    details = formats()[kind].details
    found = details(config, container) if details and container else None
    return reader(SourceSpec(kind, config, has_images, has_texts, pa.schema([]), 0, found))


def _check_options(config: SourceConfig, kind: SourceKind) -> None:
    """Refuse options of other formats."""
    for other in formats().values():
        given = [name for name in other.options if getattr(config, name) != SourceConfig.model_fields[name].default]
        if given and other.name != kind:
            options = " and ".join(f"--{name.replace('_', '-')}" for name in other.options)
            raise SourceError(
                f"{options} are for {other.plural}, and {', '.join(config.uris)} is read as a {kind} source. "
                f"Leave them out, or read it with --format {other.name}."
            )


def is_read(record: Record) -> bool:
    """Whether the store is asked for this record. One without a place, or that stands for damage, fails unread."""
    return record.placed and not is_damage(record)


class _PlacedReader:
    """Reads with `reader` the records that `is_read`, under their ids in the source; the others fail."""

    def __init__(self, reader: RecordReader, spec: SourceSpec) -> None:
        self._reader, self._damage, self._config = reader, spec.damage, spec.config

    def read(self, records: Sequence[Record]) -> list[RawRecord]:
        """See `RecordReader.read`."""
        asked = [is_read(record) for record in records]
        found = iter(self._read([record for record, is_asked in zip(records, asked, strict=True) if is_asked]))
        return [
            next(found) if is_asked else self._unread(record) for record, is_asked in zip(records, asked, strict=True)
        ]

    def _read(self, records: Sequence[Record]) -> list[RawRecord]:
        if self._config.unique_ids is None and self._config.id_prefix is None:
            return self._reader.read(records)
        own = [replace(record, id=own_id(record, self._config)) for record in records]
        return [replace(raw, record=record) for raw, record in zip(self._reader.read(own), records, strict=True)]

    def _unread(self, record: Record) -> RawRecord:
        return damaged(record, self._damage) if record.placed else failed(record, Reason.CHANGED, _CHANGED)

    def close(self) -> None:
        """Close the reader."""
        self._reader.close()


_CHANGED = "The source now lists this id with other content, which the plan has as a separate record."
