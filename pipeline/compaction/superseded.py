"""Finds the rows that a compaction keeps when it drops superseded states.

In: a dataset. Out: for each file with rows to drop, the numbers of the rows that stay. A row stays if it is the current
state of its id, or its newest outcome: what a later run or a tombstone says of an id is compared with that.

Runs that end later change nothing here. A row that is superseded stays so when another state is committed, whichever
run listed it. Only a tombstone can make an old state current again, so a compaction checks before its switch that none
was written since it planned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from pipeline.compaction.pieces import Piece
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import find_current
from pipeline.dataset.layout import DataFile
from pipeline.dataset.outcomes import OutcomeFile, positions
from pipeline.scratch.workspace import Workspace

#: A full file is rewritten if more than this share of its rows is superseded.
_SUPERSEDED_SHARE = 0.25

_KEPT = """
SELECT DISTINCT place FROM (
    SELECT place FROM current UNION ALL SELECT max(place) FROM outcomes GROUP BY id
) ORDER BY place
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """What stays.

    Attributes:
        rows: by file, the ascending numbers of its rows that stay; a file that is not here stays as a whole.
        thin: files that lose so many rows that they are rewritten although they are full.
    """

    rows: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    thin: frozenset[str] = frozenset()

    def parts(self, piece: Piece, uri: str) -> Iterator[Piece]:
        """The parts of a piece of the file `uri` that stay."""
        if uri not in self.rows:
            yield piece
            return
        rows = self.rows[uri]
        rows = rows[(rows >= piece.first) & (rows < piece.first + piece.rows)]
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
            if len(run):
                yield replace(piece, first=int(run[0]), rows=len(run))


def find_kept(dataset: Dataset, files: Sequence[DataFile]) -> Kept:
    """Which rows of `files`, and of their quarantine files, stay. Raises StorageError, RunError."""
    names = {(file.run_date, file.shard_id): file.uri for file in files}
    with Workspace() as work:
        placed = find_current(dataset, work)
        mine = np.array([_names(file, names) for file in placed], bool)
        kept: dict[str, list[npt.NDArray[np.int64]]] = {
            file.uri: [np.empty(0, np.int64)] for file, own in zip(placed, mine, strict=True) if own
        }
        for batch in work.batches(_KEPT):
            numbers, rows = positions(batch["place"].to_numpy(), placed)
            chosen = mine[numbers]
            numbers, rows = numbers[chosen], rows[chosen]
            starts = np.flatnonzero(np.diff(numbers, prepend=-1))
            for start, some in zip(starts, np.split(rows, starts[1:]), strict=False):
                if len(some):
                    kept[placed[numbers[start]].uri].append(some)
        totals = _totals(work, placed)
    found = {uri: np.sort(np.concatenate(some)) for uri, some in kept.items()}
    thin = (uri for uri, rows in found.items() if len(rows) < (1 - _SUPERSEDED_SHARE) * totals[uri])
    return Kept(found, frozenset(thin))


def known_changes(dataset: Dataset) -> str:
    """What can make an old state current again: the tombstones, as text that changes with them."""
    return " ".join(sorted(layout.tombstones(dataset.uri)))


def _names(file: OutcomeFile, names: Mapping[tuple[str, str], str]) -> bool:
    """Whether the outcome file is one of these shards, by its address: a segment has a date of its own."""
    folder, _, name = file.uri.rpartition("/")
    return (folder.rpartition("run_date=")[2], name[:32]) in names


def _totals(work: Workspace, placed: Sequence[OutcomeFile]) -> Counter[str]:
    """Rows of each file."""
    rows = np.zeros(len(placed), np.int64)
    for batch in work.batches("SELECT place FROM outcomes"):
        numbers, _ = positions(batch["place"].to_numpy(), placed)
        rows += np.bincount(numbers, minlength=len(placed))
    totals: Counter[str] = Counter()
    for file, count in zip(placed, rows.tolist(), strict=True):
        totals[file.uri] += count
    return totals
