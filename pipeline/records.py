"""The values that pass between the stages: frozen, with documented shapes and dtypes. NumPy and Arrow only.

    Record -> RawRecord -> ImageBatch -> EmbeddingBatch -> one committed shard

The columns of a row (id, uri, hashes, text, the source's own columns) are an Arrow table next to the pixels or vectors,
in the same order; failed records move from the rows to `quarantine`.

Batches are pickled with each table as one Arrow IPC stream. Ray would pickle a table column by column, which takes
milliseconds per batch, and more than the embedder's own work on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.stats import Stats
from pipeline.vocabulary import Reason, Stage


@dataclass(frozen=True, slots=True)
class Record:
    """One planned record: a row of `schema.RECORDS`."""

    id: str
    image_uri: str | None
    text_uri: str | None
    container: str | None
    position: int | None
    size_bytes: int | None
    source_fingerprint: str

    @property
    def placed(self) -> bool:
        """Whether it has a location. An adopted record whose source state has changed since has none."""
        return bool(self.image_uri or self.text_uri or self.container)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a record goes to quarantine."""

    stage: Stage
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record as read: encoded image bytes and text, or why it could not be read."""

    record: Record
    image: bytes | None = None
    text: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Decoded records of one chunk.

    Attributes:
        rows: B rows of `schema.OwnColumns.decoded` and of the source, in plan order.
        pixels: (B, N, N, 3) uint8 RGB, N the model's image size; None if the source has no images.
        quarantine: rows of `schema.QUARANTINE` for the records of the chunk that failed.
        truncated: how many of the pictures end too early and were accepted.
    """

    rows: pa.Table
    pixels: npt.NDArray[np.uint8] | None
    quarantine: pa.Table
    truncated: int = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _image_batch, (_packed(self.rows), self.pixels, _packed(self.quarantine), self.truncated)


@dataclass(frozen=True, slots=True)
class EmbeddingBatch:
    """Embedded records of one chunk.

    Attributes:
        table: B rows of a dataset with float32 vectors.
        quarantine: as of an `ImageBatch`.
        counts: what was found out about its records. It counts once they are committed: a chunk may be made twice.
    """

    table: pa.Table
    quarantine: pa.Table
    counts: Stats = field(default_factory=Stats)

    def __reduce__(self) -> tuple[Any, ...]:
        return _embedding_batch, (_packed(self.table), _packed(self.quarantine), self.counts)


def _image_batch(
    rows: pa.Buffer, pixels: npt.NDArray[np.uint8] | None, quarantine: pa.Buffer, truncated: int
) -> ImageBatch:
    return ImageBatch(_unpacked(rows), pixels, _unpacked(quarantine), truncated)


def _embedding_batch(table: pa.Buffer, quarantine: pa.Buffer, counts: Stats) -> EmbeddingBatch:
    return EmbeddingBatch(_unpacked(table), _unpacked(quarantine), counts)


def _packed(table: pa.Table) -> pa.Buffer:
    """The table with its metadata, without the rows around a slice; pickle transfers the buffer without a copy."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _unpacked(buffer: pa.Buffer) -> pa.Table:
    """The table, whose columns lie in `buffer`."""
    with pa.ipc.open_stream(buffer) as stream:
        return stream.read_all()


@dataclass(frozen=True, slots=True)
class Shard:
    """A planned unit of commit: `rows` records, stored as one row group of a records file.

    Attributes:
        shard_id: hash of the shard's records and of the dataset's identity, 32 hex digits; the output's file name.
        rows: number of records.
        size_bytes: bytes to read; 0 if unknown.
        records_uri: Parquet file of `RECORDS` rows in which the shard is one row group.
        row_group: number of that row group.
        sequential: reading out of order is expensive (a compressed tar), so one decoder should read it in order.
        attempts: how often each of its records was tried in earlier runs (`hanclip retry`).
        run_date: partition that it is committed to, YYYY-MM-DD.
        planned_by: the run that planned it; a later run that adopts it keeps this and the date.
    """

    shard_id: str
    rows: int
    size_bytes: int
    records_uri: str
    row_group: int
    sequential: bool = False
    attempts: int = 0
    run_date: str = ""
    planned_by: str = ""


@dataclass(frozen=True, slots=True)
class Crashed:
    """A record that killed its workers: its row in the shard, how often it was tried, and the last error."""

    row: int
    attempts: int
    detail: str


@dataclass(frozen=True, slots=True)
class CommittedShard:
    """A committed shard; `elsewhere` if another run committed it first."""

    stats: Stats
    elsewhere: bool


#: One row per planned record: its id and location. `container` is the tar or table that holds it (null for a separate
#: file); `position` is the byte offset of its first member in a tar, or its row number in a table.
RECORDS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image_uri", pa.string()),
        pa.field("text_uri", pa.string()),
        pa.field("container", pa.string()),
        pa.field("position", pa.int64()),
        pa.field("size_bytes", pa.int64()),
        pa.field("source_fingerprint", pa.string(), nullable=False),
    ]
)
