"""Plans a compaction: chooses the small files, sorts their rows by run, and cuts them into full files.

In: a dataset and settings. Out: a `CompactionPlan`, or none if there is nothing to gain. Of the files only footers are
read, and with `drop_superseded` the keys of all rows.

Small are files with less than half of the rows that a shard of a dataset of this size should have; full files are never
rewritten for their size. The new files follow the order of runs, so that each has rows of few of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pipeline.compaction.pieces import CompactionPlan, NewShard, Piece
from pipeline.compaction.settings import CompactSettings
from pipeline.compaction.superseded import Kept, find_kept, known_changes
from pipeline.dataset.compacted.segments import Segment
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.layout import DataFile
from pipeline.dataset.shard_file import Footer, read_footers
from pipeline.plan.cutting import target_rows
from pipeline.plan.run_ids import new_run_id

#: Of larger datasets the rows of a file are first estimated from its size.
_MOST_FOOTERS = 2048


@dataclass(frozen=True, slots=True)
class Sizes:
    """The size of a dataset.

    Attributes:
        files: committed shards.
        rows: their rows, quarantined ones included, estimated for large datasets.
        target_rows: rows that a file should have.
        row_bytes: mean bytes of a row.
    """

    files: int
    rows: int
    target_rows: int
    row_bytes: float

    @property
    def ideal_files(self) -> int:
        """How many full files would hold the rows."""
        return max(1, -(-self.rows // self.target_rows))


@dataclass(frozen=True, slots=True)
class Drafted:
    """A plan before it is stored; `plan` is None if there is nothing to gain. `sources` are the files it replaces."""

    sizes: Sizes
    plan: CompactionPlan | None
    sources: tuple[DataFile, ...] = ()
    rows_dropped: int = 0


def draft(dataset: Dataset, settings: CompactSettings) -> Drafted:
    """Plan a compaction of `dataset`. Raises StorageError, RunError."""
    changes = known_changes(dataset) if settings.drop_superseded else ""
    files = dataset.files()
    sizes = sizes_of(dataset, files)
    if not files or (sizes.files <= settings.compact_above * sizes.ideal_files and not settings.drop_superseded):
        return Drafted(sizes, None)
    old = [file for file in files if file.run_date <= _last_date(settings)]
    kept = find_kept(dataset, old) if settings.drop_superseded else Kept()
    limit_bytes = sizes.row_bytes * sizes.target_rows if len(files) > _MOST_FOOTERS else float("inf")
    maybe = [file for file in old if file.size_bytes < limit_bytes or file.uri in kept.thin]
    chosen = [
        (file, footer)
        for file, footer in zip(maybe, read_footers(maybe), strict=True)
        if footer.rows_planned < sizes.target_rows / 2 or file.uri in kept.thin
    ]
    pieces = [piece for file, footer in chosen for piece in _pieces(file, footer)]
    rows_before = sum(piece.rows for piece in pieces)
    pieces = [part for piece in pieces for part in kept.parts(piece, piece.uri(dataset.uri))]
    pieces.sort(key=lambda piece: (*piece.origin, piece.shard_id, piece.quarantined, piece.first))
    name = new_run_id()
    shards = tuple(_shards(dataset, name, pieces, sizes.target_rows))
    dropped = rows_before - sum(shard.rows for shard in shards)
    if len(shards) >= len(chosen) and not dropped:
        return Drafted(sizes, None)
    facts = {"lossy": str(settings.drop_superseded), "changes": changes, "rows_dropped": str(dropped)}
    plan = CompactionPlan(name, tuple(file.shard_id for file, _ in chosen), shards, facts)
    return Drafted(sizes, plan, tuple(file for file, _ in chosen), dropped)


def _last_date(settings: CompactSettings) -> str:
    """The newest partition whose files may be rewritten."""
    if not settings.leave_days:
        return "9999-12-31"
    return (datetime.now(UTC).date() - timedelta(days=settings.leave_days)).isoformat()


def sizes_of(dataset: Dataset, files: list[DataFile]) -> Sizes:
    """The size of `dataset`, whose files that count are `files`. Raises StorageError, RunError."""
    sample = files[:: -(-len(files) // _MOST_FOOTERS)] if files else []
    rows = sum(footer.rows_planned for footer in read_footers(sample))
    row_bytes = sum(file.size_bytes for file in sample) / max(1, rows)
    if len(sample) < len(files):
        rows = round(sum(file.size_bytes for file in files) / max(1.0, row_bytes))
    # A dataset that began small keeps its small shards; a compaction gives it the size that fits its rows today.
    return Sizes(len(files), rows, max(dataset.identity.shard_rows, target_rows(rows, 1)), row_bytes)


def _pieces(file: DataFile, footer: Footer) -> Iterator[Piece]:
    whole = Segment(0, footer.rows_embedded, footer.planned_by, footer.run_id, file.run_date)
    compacted = bool(footer.segments or footer.quarantine_segments)
    for segment in footer.segments if compacted else (whole,):
        yield _piece(file, footer, segment, quarantined=False)
    for segment in footer.quarantine_segments if compacted else (replace(whole, rows=footer.rows_quarantined),):
        yield _piece(file, footer, segment, quarantined=True)


def _piece(file: DataFile, footer: Footer, segment: Segment, quarantined: bool) -> Piece:
    return Piece(
        quarantined=quarantined,
        folder_date=file.run_date,
        shard_id=file.shard_id,
        attempt=footer.attempt,
        first=segment.first,
        rows=segment.rows,
        planned_by=segment.planned_by,
        run_id=segment.run_id,
        run_date=segment.run_date,
    )


def _shards(dataset: Dataset, name: str, pieces: Iterable[Piece], target: int) -> Iterator[NewShard]:
    """Cut the pieces into shards of equal size, as near to the target as that allows."""
    filled = [piece for piece in pieces if piece.rows]
    total = sum(piece.rows for piece in filled)
    count = max(1, round(total / target)) if total else 0
    limits = iter([total * (number + 1) // count for number in range(count)])
    done, limit, number, waiting = 0, next(limits, 0), 0, list[Piece]()
    for piece in filled:
        while piece.rows:
            rows = min(piece.rows, limit - done)
            waiting.append(replace(piece, rows=rows))
            piece = replace(piece, first=piece.first + rows, rows=piece.rows - rows)
            done += rows
            if done == limit:
                yield _shard(dataset, name, number, waiting)
                limit, number, waiting = next(limits, 0), number + 1, []


def _shard(dataset: Dataset, name: str, number: int, pieces: list[Piece]) -> NewShard:
    """The id holds the compaction's name: rows that are compacted once more never get a name that was hidden."""
    digest = hashlib.sha256(dataset.identity.digest() + f"compaction {name} shard {number}".encode())
    shard_id = digest.hexdigest()[:32]
    return NewShard(shard_id, tuple(replace(piece, new=shard_id) for piece in pieces))
