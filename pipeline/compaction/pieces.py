"""The plan of a compaction as values and as a file: which rows of which files make up each new file.

    OUT/_compactions/<name>/plan.parquet    one row per piece, in order

A piece is a range of consecutive rows of one old file that come from one run. The plan is stored before anything else
is written, so a compaction that is killed goes on with the same new files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.compacted.segments import Segment
from pipeline.dataset.footer import decode_footer, encode_footer

_PIECES = pa.schema(
    [
        pa.field("new", pa.string(), nullable=False),
        pa.field("quarantined", pa.bool_(), nullable=False),
        pa.field("folder_date", pa.string(), nullable=False),
        pa.field("shard_id", pa.string(), nullable=False),
        pa.field("attempt", pa.string(), nullable=False),
        pa.field("first", pa.int64(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("planned_by", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("run_date", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows `first` to `first + rows` of an embeddings file, or of its quarantine file if `quarantined`.

    Attributes:
        folder_date, shard_id, attempt: name the file.
        planned_by, run_id, run_date: as in `Segment`.
        new: id of the shard that gets the rows.
    """

    quarantined: bool
    folder_date: str
    shard_id: str
    attempt: str
    first: int
    rows: int
    planned_by: str
    run_id: str
    run_date: str
    new: str = ""

    def uri(self, out: str) -> str:
        """The file that holds the rows."""
        if self.quarantined:
            return layout.quarantine_uri(out, self.folder_date, self.shard_id, self.attempt)
        return layout.embeddings_uri(out, self.folder_date, self.shard_id)

    @property
    def origin(self) -> tuple[str, str, str]:
        """What all rows of a segment have in common, in the order of segments."""
        return self.planned_by, self.run_date, self.run_id


@dataclass(frozen=True, slots=True)
class NewShard:
    """A shard that a compaction writes."""

    shard_id: str
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        """Rows, quarantined ones included."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def run_date(self) -> str:
        """Its partition: the newest date of its rows."""
        return max(piece.run_date for piece in self.pieces)

    def segments(self, quarantined: bool) -> tuple[Segment, ...]:
        """The segments of its file, or of its quarantine file."""
        found, first = [], 0
        chosen = (piece for piece in self.pieces if piece.quarantined == quarantined)
        for (planned_by, run_date, run_id), some in groupby(chosen, attrgetter("origin")):
            rows = sum(piece.rows for piece in some)
            found.append(Segment(first, rows, planned_by, run_id, run_date))
            first += rows
        return tuple(found)


@dataclass(frozen=True, slots=True)
class CompactionPlan:
    """What one compaction does.

    Attributes:
        name: sorts by time.
        replaced: ids of the shards whose rows move.
        shards: what replaces them.
        facts: what else is known of it, as text.
    """

    name: str
    replaced: tuple[str, ...]
    shards: tuple[NewShard, ...]
    facts: Mapping[str, str]

    @property
    def rows(self) -> int:
        """Rows to write, quarantined ones included."""
        return sum(shard.rows for shard in self.shards)


def plan_uri(out: str, name: str) -> str:
    """Address of a plan."""
    return storage.join(out, layout.COMPACTIONS, name, "plan.parquet")


def write_plan(out: str, plan: CompactionPlan) -> None:
    """Store a plan. It has no effect before the log of compactions names it."""
    facts = {**plan.facts, "replaced": json.dumps(plan.replaced)}
    rows = [asdict(piece) for shard in plan.shards for piece in shard.pieces]
    table = pa.Table.from_pylist(rows, schema=_PIECES.with_metadata(encode_footer(facts)))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    storage.create(plan_uri(out, plan.name), sink.getvalue().to_pybytes())


def read_plan(out: str, name: str) -> CompactionPlan:
    """A stored plan. Raises StorageError."""
    table = pq.read_table(pa.BufferReader(storage.read_bytes(plan_uri(out, name))))
    facts = decode_footer(table.schema.metadata)
    replaced = tuple(json.loads(facts.pop("replaced")))
    return CompactionPlan(name, replaced, tuple(_shards(table.to_pylist())), facts)


def _shards(rows: Iterable[Mapping[str, Any]]) -> Iterator[NewShard]:
    for shard_id, some in groupby((Piece(**row) for row in rows), attrgetter("new")):
        yield NewShard(shard_id, tuple(some))
