"""The contract of a source format.

`scan` lists a source once: it hands batches of `records.RECORDS` to a sink and returns the `SourceSpec`, a small value
that travels to the workers. There `reader` makes a `RecordReader` of it, which reads the records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import pyarrow as pa

from pipeline.config import SourceConfig
from pipeline.records import Failure, RawRecord, Record
from pipeline.stats import Skipped
from pipeline.vocabulary import SourceKind

Sink = Callable[[pa.RecordBatch], None]


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A scanned source, ready to be read.

    Attributes:
        kind: its format.
        config: the user's options.
        has_images: records have images; a record without one fails.
        has_texts: at least one record may have a text.
        extra: further columns that each record carries, in `RawRecord.extra`.
        renamed: names in the source of those of `extra` that are called otherwise there.
        records: how many were listed.
        details: what else the format's reader needs, a frozen value of a type that the format defines.
        notes: sentences for the user about what is damaged, or left out of records.
        skipped: what the source holds besides records, from a `SkipTally`; with a limit, what was met until then.
        texts: how many of the records have a text, if listing shows it.
        damage: why containers could not be read to their end, by URI. Each has a record that stands for what is lost.
    """

    kind: SourceKind
    config: SourceConfig
    has_images: bool
    has_texts: bool
    extra: pa.Schema
    records: int
    details: object = None
    notes: tuple[str, ...] = ()
    texts: int | None = None
    skipped: tuple[Skipped, ...] = ()
    damage: Mapping[str, Failure] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def carried(self) -> tuple[tuple[str, pa.Field], ...]:
        """The columns of `extra`, each with its name in the source."""
        return tuple((self.renamed.get(column.name, column.name), column) for column in self.extra)

    def with_own_names(self, free: frozenset[str]) -> SourceSpec:
        """The same source, whose columns of these names keep them: the dataset has no columns of its own there."""
        names = {name: own if own in free else name for name, own in self.renamed.items()}
        extra = [column.with_name(names.get(column.name, column.name)) for column in self.extra]
        renamed = {name: own for name, own in self.renamed.items() if own not in free}
        return replace(self, extra=pa.schema(extra), renamed=renamed)

    def describe(self) -> str:
        """One line for people."""
        held = {(True, True): self._pairs(), (True, False): "images", (False, True): "texts"}
        what = held.get((self.has_images, self.has_texts), "records")
        names = (own if own == one.name else f"{own} as {one.name}" for own, one in self.carried)
        carried = f", carrying {', '.join(names)}" if len(self.extra) else ""
        return f"{self.records:,} {what} from a {self.kind} source ({', '.join(self.config.uris)}){carried}"

    def _pairs(self) -> str:
        if self.texts is None:
            return "images, some with texts,"
        return "image-text pairs" if self.texts == self.records else f"images, {self.texts:,} of them with a text,"


class RecordReader(Protocol):
    """Reads records of one source. Two threads may call `read` at the same time."""

    def read(self, records: Sequence[Record]) -> list[RawRecord]:
        """One result per record, in order; an error of one record is its `failure`.

        Raises:
            UnavailableError: the store is down for all of them.
        """

    def close(self) -> None:
        """Close everything that is open."""


@dataclass(frozen=True, slots=True)
class SourceFormat:
    """One source format. Its package defines it as `FORMAT`.

    Attributes:
        name: as `--format` takes it.
        plural: its files, in messages.
        suffixes: lower-case endings of its files' names.
        scan: lists the records of `(config, sink, out)`; nothing below `out` is a record. Raises SourceError when the
            source cannot be planned as a whole, StorageError when listing or reading it fails.
        reader: makes the reader of a scanned source.
        sequential: whether a container, of a source with these `SourceSpec.details`, can only be read from its
            beginning.
        one_shard: a container holds its records one after another, and is one shard if it is not too long.
        shared: suffixes of its files that belong to another format unless `recognises` finds them.
        weak: those suffixes whose files can be many other things: in a folder they count only if it holds nothing else.
        recognises: whether an address, with the URIs of its first files, holds this format, whatever their suffixes.
        options: fields of `SourceConfig` that no other format takes.
        details: `SourceSpec.details` of a container that is read again without a scan, if readers need any.
    """

    name: SourceKind
    plural: str
    suffixes: tuple[str, ...]
    scan: Callable[[SourceConfig, Sink, str], SourceSpec]
    reader: Callable[[SourceSpec], RecordReader]
    sequential: Callable[[str, object], bool] = lambda container, details: False
    one_shard: bool = False
    shared: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()
    recognises: Callable[[str, Sequence[str]], bool] | None = None
    options: tuple[str, ...] = ()
    details: Callable[[SourceConfig, str], object] | None = None
