"""Cuts an ordered listing into shards with ids: first the whole source, then records with an outcome are left out.

    Listing -> full_cut -> ToDo -> shards of the remaining records

The cut of the whole source depends on the source alone. So two drivers that plan at different times, with more or less
of it committed, mostly give the same ids to the same work; `pending` handles the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.dataset import Dataset
from pipeline.dataset.identity import Identity
from pipeline.dataset.scan import choose, scan
from pipeline.dataset.schema import QUARANTINE
from pipeline.plan.cutting import Bounds, Cutter
from pipeline.plan.listing import LISTED, Listing
from pipeline.records import RECORDS
from pipeline.scratch.spool import Spool
from pipeline.scratch.workspace import Workspace
from pipeline.sources import SourceSpec, holds_shards, is_sequential

_CUT = LISTED.append(pa.field("shard", pa.int64())).append(pa.field("row", pa.int64()))


@dataclass(frozen=True, slots=True)
class Origin:
    """The plan that cut a shard: its run, and the date that the shard is committed to."""

    run_id: str
    run_date: str


@dataclass(frozen=True, slots=True)
class Cut:
    """One shard and its records, rows of `records.RECORDS`. Without an origin it was cut by this plan."""

    shard_id: str
    records: pa.Table
    attempts: int
    origin: Origin | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes to read, as far as the source reports them."""
        return int(pc.sum(self.records["size_bytes"]).as_py() or 0)


def shard_id(identity: Identity, records: pa.Table, attempts: int) -> str:
    """32 hex digits over the dataset's identity and each record's id and fingerprint, in order."""
    digest = hashlib.sha256(identity.digest())
    digest.update(f"attempts {attempts} rows {records.num_rows}".encode())
    for column in ("id", "source_fingerprint"):
        lengths = pc.binary_length(records[column]).to_numpy()
        digest.update(lengths.astype("<i4").tobytes())
        digest.update("".join(records[column].to_pylist()).encode())
    return digest.hexdigest()[:32]


def full_cut(listing: Listing, identity: Identity, source: SourceSpec) -> Iterator[Cut]:
    """The shards of a whole listing of `source`."""
    tar_rows = listing.rows_by_container() if holds_shards(source) else {}
    cutter = Cutter(Bounds.around(identity.shard_rows), tar_rows, partial(is_sequential, source))
    for rows in runs(_numbered(listing.ordered(), cutter), "shard"):
        records, attempts = rows.select(RECORDS.names).cast(RECORDS), rows["attempts"][0].as_py()
        yield Cut(shard_id(identity, records, attempts), records, attempts)


class ToDo:
    """The records of a cut without an outcome, in the workspace's table `todo`.

    A record is done when the embeddings have a row with its id and fingerprint, or the quarantine has one after more
    attempts than the cut knows of.

    Attributes:
        committed: ids of the committed shards. They are listed once, so a shard that is committed in the meantime is
            planned as a whole, and its second commit is then refused.
        rows: records without an outcome.
    """

    def __init__(self, cuts: Iterable[Cut], dataset: Dataset, work: Workspace) -> None:
        files = dataset.files()
        self.committed = frozenset(file.shard_id for file in files)
        self._identity, self._work = dataset.identity, work
        self._whole: list[tuple[str, int]] = []
        with Spool(work, "cut", _CUT) as spool:
            for cut in cuts:
                if cut.shard_id not in self.committed:
                    spool.add(cut.records, attempts=cut.attempts, shard=len(self._whole))
                    self._whole.append((cut.shard_id, cut.records.num_rows))
        work.execute("CREATE TABLE gone (row BIGINT)")
        work.execute("CREATE VIEW todo AS SELECT * FROM cut ANTI JOIN gone USING (row)")
        if files and self._whole:
            keys = ["id", "source_fingerprint"]
            work.register("embedded", scan(files, choose(dataset.identity.schema, keys)))
            work.register("quarantined", scan(dataset.quarantine_files(files), choose(QUARANTINE, [*keys, "attempts"])))
            work.execute(_LEAVE_OUT_DONE)
        [(self.rows,)] = work.rows("SELECT count(*) FROM todo")

    def leave_out(self, records: str) -> None:
        """Remove records that another shard has: the query `records` selects their id and source_fingerprint."""
        self._work.execute(
            f"INSERT INTO gone SELECT row FROM todo SEMI JOIN ({records}) USING (id, source_fingerprint)"
        )

    def cuts(self) -> Iterator[Cut]:
        """The shards of the remaining records, in order; a shard that lost records gets another id."""
        for rows in runs(self._work.batches("SELECT * FROM todo ORDER BY row"), "shard"):
            name, whole_rows = self._whole[rows["shard"][0].as_py()]
            records, attempts = rows.select(RECORDS.names).cast(RECORDS), rows["attempts"][0].as_py()
            if records.num_rows < whole_rows:
                name = shard_id(self._identity, records, attempts)
            yield Cut(name, records, attempts)


_LEAVE_OUT_DONE = """
INSERT INTO gone
WITH done AS (
    SELECT id, source_fingerprint, 2147483647 AS attempts FROM embedded
    UNION ALL SELECT id, source_fingerprint, attempts FROM quarantined
)
SELECT row FROM cut AS c WHERE EXISTS (
    SELECT 1 FROM done AS d
    WHERE d.id = c.id AND d.source_fingerprint = c.source_fingerprint AND d.attempts > c.attempts
)
"""


def runs(batches: Iterable[pa.RecordBatch], column: str) -> Iterator[pa.Table]:
    """Tables of consecutive rows with the same value in `column`, across batches."""
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


def _numbered(batches: Iterable[pa.RecordBatch], cutter: Cutter) -> Iterator[pa.RecordBatch]:
    """Add the column `shard`: the number of each record's shard."""
    number, attempts = -1, -1
    for batch in batches:
        numbers = []
        ids, containers = batch["id"].to_pylist(), batch["container"].to_pylist()
        for starts, tried in zip(cutter.starts(ids, containers), batch["attempts"].to_pylist(), strict=True):
            number += starts or tried != attempts
            attempts = tried
            numbers.append(number)
        yield batch.append_column("shard", pa.array(numbers, pa.int64()))
