"""Cuts an ordered listing, leaves out records with an outcome, and makes shards of the remaining ones.

    Listing -> full_cut -> ToDo -> shards of the remaining records

The cut of the whole source depends on the source alone, so a cut that is done is recognised by its name, without
reading ids. A cut of which nothing is done is a shard if its size is right; what is left of all others is packed
(`cuts.packing`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.dataset import Dataset
from pipeline.dataset.identity import Identity
from pipeline.dataset.layout import DataFile
from pipeline.plan.cuts.done import register_done
from pipeline.plan.cuts.known import KnownCuts
from pipeline.plan.cuts.packing import Packer, Packing
from pipeline.plan.cuts.runs import runs
from pipeline.plan.cutting import Bounds, Cutter
from pipeline.plan.listing import LISTED, Listing
from pipeline.records import RECORDS
from pipeline.scratch.passes import IdPasses
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


#: The records to do, in a query of `ToDo.beside`.
REMAINING = "(SELECT * FROM cut ANTI JOIN gone USING (row))"


class ToDo:
    """The records of a cut without an outcome: rows of the workspace's table `cut` that are not in its table `gone`.

    A record is done when the embeddings have a row with its id and fingerprint, or the quarantine has one after more
    attempts than the cut knows of.

    Args:
        cuts: of the whole listing.
        dataset: has the outcomes.
        work: for the tables.
        known: what an earlier plan of the source knew.

    Attributes:
        committed: ids of the shards that are or were committed. They are listed once, so a shard that is committed in
            the meantime is planned as a whole, and its second commit is then refused.
    """

    def __init__(self, cuts: Iterable[Cut], dataset: Dataset, work: Workspace, known: KnownCuts | None = None) -> None:
        found = dataset.committed()
        files, settled = found.files, found.settled
        self.committed, self._reserved = found.ever, found.reserved
        self._identity, self._work = dataset.identity, work
        self._names = list(dict.fromkeys(file.shard_id for file in files))
        known = (known or KnownCuts()).given(settled)
        skipped, self._whole = set[str](), list[tuple[str, int]]()
        with Spool(work, "cut", _CUT) as spool:
            for cut in cuts:
                if cut.shard_id in known.done:
                    skipped.add(cut.shard_id)
                elif cut.shard_id not in settled:
                    spool.add(cut.records, attempts=cut.attempts, shard=len(self._whole))
                    self._whole.append((cut.shard_id, cut.records.num_rows))
        self._skipped = KnownCuts(done=frozenset(skipped), relied=known.relied if skipped else frozenset())
        self._cut_rows, self._gone = spool.rows, list[str]()
        work.execute("CREATE VIEW gone AS SELECT '' AS id, 0::BIGINT AS row, 0::INTEGER AS file WHERE false")
        if files and self._whole:
            self._leave_out_done(dataset, files)

    def _leave_out_done(self, dataset: Dataset, files: Sequence[DataFile]) -> None:
        [(first, last)] = self._work.rows("SELECT min(id), max(id) FROM cut")
        register_done(self._work, dataset, files, {name: n for n, name in enumerate(self._names)}, (first, last))
        # Constants for the query planner, so that row groups of other ids are not read.
        self._work.execute("SET VARIABLE first_id = (SELECT min(id) FROM cut)")
        self._work.execute("SET VARIABLE last_id = (SELECT max(id) FROM cut)")
        tables = {"cut": "id, source_fingerprint, attempts, row", "done": "*"}
        with IdPasses(self._work, self._cut_rows, tables) as passes:
            passes.store("with_outcome", _WITH_OUTCOME)
        self._add_gone("SELECT id, row, file FROM with_outcome")

    @property
    def rows(self) -> int:
        """Records without an outcome that no other shard has."""
        counts = (self._work.rows(f"SELECT count(*) FROM ({query})") for query in self._remaining())
        return sum(int(count) for [(count,)] in counts)

    def beside(self, planned: Spool) -> IdPasses:
        """Passes over the records of a table of earlier plans, and over `REMAINING`."""
        tables = {
            planned.name: "id, source_fingerprint, shard",
            "cut": "id, source_fingerprint, row",
            "gone": "id, row",
        }
        return IdPasses(self._work, max(self._cut_rows, planned.rows), tables)

    def leave_out(self, records: str, passes: IdPasses) -> None:
        """Remove records that another shard has: the query `records` selects their id and source_fingerprint."""
        passes.store("held", f"SELECT id, row FROM {REMAINING} SEMI JOIN ({records}) USING (id, source_fingerprint)")
        self._add_gone("SELECT id, row, NULL::INTEGER AS file FROM held")

    def _add_gone(self, rows: str) -> None:
        """Add rows to `gone`: `id`, `row`, and if an outcome is the reason, `file`, the number of its shard."""
        self._gone.append(f"gone_{len(self._gone)}")
        self._work.store(self._gone[-1], f"{rows} ORDER BY row")
        self._work.execute(
            f"CREATE OR REPLACE VIEW gone AS {' UNION ALL '.join(f'FROM {name}' for name in self._gone)}"
        )

    def _remaining(self, gone: str = "true") -> Iterator[str]:
        """Queries for the records of `cut` in order, without those of `gone` that fulfil a condition."""
        for part in self._work.ranges("row", self._cut_rows):
            yield (
                f"SELECT * FROM (FROM cut WHERE {part}) ANTI JOIN (FROM gone WHERE {part} AND {gone}) USING (row) "
                "ORDER BY row"
            )

    def cuts(self, packing: Packing) -> Iterator[Cut]:
        """The shards of the remaining records, each when its last record has come."""
        packer = Packer(packing)
        batches = chain.from_iterable(map(self._work.batches, self._remaining()))
        for rows in runs(batches, "shard"):
            name, whole_rows = self._whole[rows["shard"][0].as_py()]
            if rows.num_rows == whole_rows and name not in self._reserved and packing.keeps(rows):
                yield Cut(name, rows.select(RECORDS.names).cast(RECORDS), rows["attempts"][0].as_py())
            else:
                yield from map(self._packed, packer.add(rows))
        yield from map(self._packed, packer.rest())

    def _packed(self, rows: pa.Table) -> Cut:
        records, attempts = rows.select(RECORDS.names).cast(RECORDS), rows["attempts"][0].as_py()
        name = shard_id(self._identity, records, attempts)
        while name in self._reserved:  # A compaction dropped records of this shard, and no file of this name counts.
            name = hashlib.sha256(name.encode()).hexdigest()[:32]
        return Cut(name, records, attempts)

    def known(self, planned: Iterable[str]) -> KnownCuts:
        """What the next plan of the source can know, if the shards `planned` hold the remaining records."""
        open_cuts = {
            self._whole[number][0]
            for query in self._remaining("file IS NOT NULL")
            for (number,) in self._work.rows(f"SELECT DISTINCT shard FROM ({query})")
        }
        relied = {self._names[number] for (number,) in self._work.rows(_RELIED)}
        done = {name for name, _ in self._whole} - open_cuts
        shards = set(planned)
        # A cut that is a shard itself is known by its name.
        rest, shards = open_cuts - shards, shards - open_cuts
        return KnownCuts(
            done=self._skipped.done | done,
            planned=frozenset(rest),
            relied=self._skipped.relied | relied,
            shards=frozenset(shards if rest else ()),
        )


_WITH_OUTCOME = """
SELECT c.id, c.row, d.file FROM cut AS c JOIN done AS d
ON d.id = c.id AND d.source_fingerprint = c.source_fingerprint AND d.attempts > c.attempts
WHERE d.id BETWEEN getvariable('first_id') AND getvariable('last_id')
"""

_RELIED = "SELECT DISTINCT file FROM gone WHERE file IS NOT NULL"


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
