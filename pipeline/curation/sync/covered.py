"""Finds the ids whose state may have changed since a watermark: those in files that came since.

In: a dataset and a watermark. Out: ids, or None if the watermark does not tell. A shard is known by its name and its
attempt. A compaction moves rows into new shards: its plan says from which ones, so a row that was known stays known
wherever it is moved, and a compacted dataset costs no more than before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipeline import storage
from pipeline.compaction.pieces import NewShard, Piece, read_plan
from pipeline.curation.sync.watermark import Watermark
from pipeline.dataset import layout
from pipeline.dataset.compacted.log import compactions
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.keys.index import read_facts
from pipeline.dataset.layout import DataFile
from pipeline.dataset.shard_file import ShardFacts, opened
from pipeline.errors import NotFoundError

#: First row, and number of rows.
_Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class CommittedState:
    """A state of a dataset.

    Attributes:
        out: the dataset.
        shards: the committed shards by name, a shard's id and its attempt.
        tombstones: the files of tombstones by run.
        replaced: ids of shards whose rows are in others now.
    """

    out: str
    shards: Mapping[str, tuple[DataFile, ShardFacts]]
    tombstones: Mapping[str, str]
    replaced: frozenset[str]

    @classmethod
    def of(cls, dataset: Dataset) -> CommittedState:
        """The state now. Raises StorageError, RunError."""
        tombstones = {run: info.uri for run, info in layout.tombstones(dataset.uri).items()}
        committed = dataset.committed()
        facts = read_facts(dataset.uri, committed.files)
        shards = {
            _name(one.shard_id, one.attempt): (file, one) for file, one in zip(committed.files, facts, strict=True)
        }
        return cls(dataset.uri, shards, tombstones, committed.replaced)

    def covers(self, mark: Watermark) -> bool:
        """Whether all that the watermark reflects is still in the dataset, here or in compacted shards."""
        gone = (name for name in mark.shards if name not in self.shards)
        kept = all(name.partition("-")[0] in self.replaced for name in gone)
        return kept and set(mark.tombstones) <= self.tombstones.keys()

    def is_in(self, mark: Watermark) -> bool:
        """Whether the watermark is of this very state."""
        return set(mark.shards) == self.shards.keys() and set(mark.tombstones) == self.tombstones.keys()

    def changed_ids(self, mark: Watermark) -> list[str]:
        """Ids with an outcome in a file that the watermark does not reflect. Raises StorageError, RunError."""
        known = _Known(self.out, frozenset(mark.shards))
        found: dict[str, None] = {}
        for run, uri in self.tombstones.items():
            if run not in mark.tombstones:
                found.update(dict.fromkeys(_ids(uri)))
        for name, (file, facts) in self.shards.items():
            if name not in known.names:
                for part in _parts(self.out, file, facts):
                    found.update(dict.fromkeys(_ids(part.uri, known.unknown(file.shard_id, part.quarantined))))
        return sorted(found)


@dataclass(frozen=True, slots=True)
class _Part:
    uri: str
    quarantined: bool


class _Known:
    """The rows that a watermark reflects, by the names of their shards."""

    def __init__(self, out: str, names: frozenset[str]) -> None:
        self.names = names
        self._out = out
        self._plans: Iterator[str] | None = None
        self._made: dict[str, NewShard] = {}

    def unknown(self, shard_id: str, quarantined: bool) -> list[_Range] | None:
        """The rows of a shard that are not known, of its file or its quarantine file; None for all."""
        shard = self._compacted(shard_id)
        if shard is None:
            return None
        found, at = list[_Range](), 0
        for piece in shard.pieces:
            if piece.quarantined == quarantined:
                found += [(first - piece.first + at, rows) for first, rows in self._unknown_of(piece)]
                at += piece.rows
        return found

    def _unknown_of(self, piece: Piece) -> Iterator[_Range]:
        """Ranges of the shard that the piece is of."""
        if _name(piece.shard_id, piece.attempt) in self.names:
            return
        inner = self.unknown(piece.shard_id, piece.quarantined)
        for first, rows in [(piece.first, piece.rows)] if inner is None else inner:
            start, end = max(first, piece.first), min(first + rows, piece.first + piece.rows)
            if start < end:
                yield start, end - start

    def _compacted(self, shard_id: str) -> NewShard | None:
        """What a compaction put into a shard, if one made it. Plans are read as they are needed, the newest first."""
        if self._plans is None:
            self._plans = iter(_compactions(self._out))
        while shard_id not in self._made:
            name = next(self._plans, None)
            if name is None:
                return None
            try:
                self._made |= {shard.shard_id: shard for shard in read_plan(self._out, name).shards}
            except NotFoundError:
                continue  # Its rows count as unknown.
        return self._made[shard_id]


def _compactions(out: str) -> list[str]:
    """Names of the plans of compactions, the newest first."""
    if compactions(out).newest()[1] is None:
        return []
    infos = layout.objects(out, layout.COMPACTIONS)
    found = (storage.parent(info.uri) for info in infos if info.uri.endswith("/plan.parquet"))
    return sorted(map(storage.name, found), reverse=True)


def _name(shard_id: str, attempt: str) -> str:
    return f"{shard_id}-{attempt}"


def _parts(out: str, file: DataFile, facts: ShardFacts) -> Iterator[_Part]:
    yield _Part(file.uri, quarantined=False)
    if facts.rows_quarantined:
        yield _Part(layout.quarantine_uri(out, file.run_date, file.shard_id, facts.attempt), quarantined=True)


def _ids(uri: str, ranges: Iterable[_Range] | None = None) -> list[str]:
    """Ids in a file of the dataset, all or those of some rows."""
    if ranges is not None and not (ranges := list(ranges)):
        return []
    with opened(uri) as parquet:
        column = parquet.read(["id"])["id"]
    pieces = [column] if ranges is None else [column.slice(*each) for each in ranges]
    ids: list[str] = pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks], pa.string()).to_pylist()
    return ids
