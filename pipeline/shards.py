"""From an ordered listing to shards with ids: the whole source is cut first, then what has an outcome is taken out.

The cut over the whole source depends on the source alone. So two drivers that plan at different moments, with more or
less of it committed, still give the same ids to the same work, and the commit lets only one of them through.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.cutting import Bounds, Cutter
from pipeline.dataset import Dataset, choose, scan
from pipeline.identity import Identity
from pipeline.listing import LISTED, Listing
from pipeline.schema import QUARANTINE, RECORDS
from pipeline.sources.base import is_sequential
from pipeline.workspace import BATCH_ROWS, Workspace

_PENDING = LISTED.append(pa.field("shard", pa.int64())).append(pa.field("row", pa.int64()))


@dataclass(frozen=True, slots=True)
class Cut:
    """One shard and its records, rows of `schema.RECORDS`; `attempts` as in `batch.Shard`."""

    shard_id: str
    records: pa.Table
    attempts: int

    @property
    def size_bytes(self) -> int:
        """Bytes to read, as far as the source told them."""
        return int(pc.sum(self.records["size_bytes"]).as_py() or 0)

    @property
    def sequential(self) -> bool:
        """Whether the records lie where reading out of order is expensive."""
        return is_sequential(self.records["container"][0].as_py())


def shard_id(identity: Identity, records: pa.Table, attempts: int) -> str:
    """32 hex digits over the dataset's identity and each record's id and fingerprint, in order."""
    digest = hashlib.sha256(identity.digest())
    digest.update(f"attempts {attempts} rows {records.num_rows}".encode())
    for column in ("id", "source_fingerprint"):
        lengths = pc.binary_length(records[column]).to_numpy()
        digest.update(lengths.astype("<i4").tobytes())
        digest.update("".join(records[column].to_pylist()).encode())
    return digest.hexdigest()[:32]


class FullCut:
    """Iterates over the shards of a whole listing.

    Attributes:
        plan_id: hash over all their ids, valid once the iteration ended: equal sources give equal plans.
    """

    def __init__(self, listing: Listing, identity: Identity) -> None:
        self._listing = listing
        self._identity = identity
        self._ids = hashlib.sha256(identity.digest())

    @property
    def plan_id(self) -> str:
        """32 hex digits."""
        return self._ids.hexdigest()[:32]

    def __iter__(self) -> Iterator[Cut]:
        cutter = Cutter(Bounds.around(self._identity.shard_rows), self._listing.tar_rows())
        for rows in _runs(_numbered(self._listing.ordered(), cutter), "shard"):
            cut = _cut(self._identity, rows)
            self._ids.update(cut.shard_id.encode())
            yield cut


def without_done(cuts: Iterable[Cut], dataset: Dataset, work: Workspace) -> Iterator[Cut]:
    """The shards less the records that have an outcome; a shard that loses some is another shard, with its own id.

    A record is done when a row with its id and fingerprint is among the embeddings, or in quarantine after more
    attempts than the plan knows of.
    """
    # One listing for all: a shard that is committed meanwhile is planned whole, and its commit then refused.
    files = dataset.files()
    if not files:
        yield from cuts
        return
    kept = _write_pending(cuts, {file.shard_id for file in files}, work)
    if not kept:
        return
    keys = ["id", "source_fingerprint"]
    work.register("embedded", scan(files, choose(dataset.identity.schema, keys)))
    work.register("quarantined", scan(dataset.quarantine_files(files), choose(QUARANTINE, [*keys, "attempts"])))
    remaining = work.batches(
        """
        WITH done AS (
            SELECT id, source_fingerprint, 2147483647 AS attempts FROM embedded
            UNION ALL SELECT id, source_fingerprint, attempts FROM quarantined
        )
        SELECT * FROM pending AS p WHERE NOT EXISTS (
            SELECT 1 FROM done AS d
            WHERE d.id = p.id AND d.source_fingerprint = p.source_fingerprint AND d.attempts > p.attempts
        ) ORDER BY row
        """
    )
    for rows in _runs(remaining, "shard"):
        whole_id, whole_rows = kept[rows["shard"][0].as_py()]
        cut = _cut(dataset.identity, rows)
        yield Cut(whole_id, cut.records, cut.attempts) if cut.records.num_rows == whole_rows else cut


def _write_pending(cuts: Iterable[Cut], committed: set[str], work: Workspace) -> list[tuple[str, int]]:
    """Put the records of uncommitted shards into the table `pending`; returns the shards' ids and rows, in order."""
    kept: list[tuple[str, int]] = []
    path, row = work.path("pending.parquet"), 0
    with pq.ParquetWriter(path, _PENDING, compression="zstd") as writer:
        for cut in cuts:
            if cut.shard_id in committed:
                continue
            rows = cut.records.num_rows
            columns = {
                "attempts": pa.repeat(pa.scalar(cut.attempts, pa.int32()), rows),
                "shard": pa.repeat(pa.scalar(len(kept), pa.int64()), rows),
                "row": pa.array(range(row, row + rows), pa.int64()),
            }
            writer.write_table(pa.table([*cut.records.columns, *columns.values()], schema=_PENDING), BATCH_ROWS)
            kept.append((cut.shard_id, rows))
            row += rows
    work.view("pending", path)
    return kept


def _numbered(batches: Iterable[pa.RecordBatch], cutter: Cutter) -> Iterator[pa.RecordBatch]:
    """Add the column `shard`: the number of the shard that each record is in."""
    number, attempts = -1, -1
    for batch in batches:
        numbers = []
        ids, containers = batch["id"].to_pylist(), batch["container"].to_pylist()
        for starts, tried in zip(cutter.starts(ids, containers), batch["attempts"].to_pylist(), strict=True):
            number += starts or tried != attempts
            attempts = tried
            numbers.append(number)
        yield batch.append_column("shard", pa.array(numbers, pa.int64()))


def _runs(batches: Iterable[pa.RecordBatch], column: str) -> Iterator[pa.Table]:
    """Tables of consecutive rows with the same value in `column`, however the batches lie."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        ends = pc.run_end_encode(batch[column]).run_ends.to_pylist() if batch.num_rows else []
        for start, end in zip([0, *ends], ends, strict=False):
            if waiting and waiting[-1][column][0] != batch[column][start]:
                yield pa.Table.from_batches(waiting)
                waiting = []
            waiting.append(batch.slice(start, end - start))
    if waiting:
        yield pa.Table.from_batches(waiting)


def _cut(identity: Identity, rows: pa.Table) -> Cut:
    records, attempts = rows.select(RECORDS.names).cast(RECORDS), rows["attempts"][0].as_py()
    return Cut(shard_id(identity, records, attempts), records, attempts)
