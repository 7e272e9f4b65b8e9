"""Groups the duplicates, and decides for every row of a group whether it stays, and if not, for which row and why.

In: gathered rows and the duplicates on every rung, strongest first. Out: the columns of the table of duplicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.curation.dedup.choice.greedy import InOrder, rows_to_keep
from pipeline.curation.dedup.choice.keep import in_keep_order
from pipeline.curation.dedup.choice.names import group_names
from pipeline.curation.dedup.choice.nearest import nearest_kept
from pipeline.curation.dedup.links.distances import Distances
from pipeline.curation.dedup.links.pairs import RungPairs
from pipeline.curation.dedup.rows import Indices, Mask, Rows
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.dedup.union_find import UnionFind
from pipeline.dataset.identity import Identity

_NONE = -1


@dataclass(frozen=True, slots=True)
class DedupDecisions:
    """What to keep and what to drop of N rows in G groups.

    Attributes:
        names: (G,) the name of each group.
        group: (N,) the group of each row, -1 for a row without duplicates.
        sizes: (G,) rows of each group.
        rung: (N,) position in `rungs` of the rung on which a row was dropped, -1 for kept rows.
        rungs: strongest first.
        kept_row: (N,) the kept row of which a dropped one is a duplicate, -1 for kept rows.
        sources: as in the gathered rows.
        kept_ids: their ids, sorted by row number in `kept_rows`.
        distances: between a dropped row and its kept one.
        keep: (N,) whether the row is kept.
        both: how many rows stay although an earlier run also kept a duplicate of theirs.
    """

    names: pa.Array
    group: Indices
    sizes: Indices
    rung: npt.NDArray[np.int8]
    rungs: tuple[str, ...]
    kept_row: Indices
    sources: tuple[tuple[str, int], ...]
    kept_rows: Indices
    kept_ids: pa.Array
    distances: Distances
    keep: Mask
    both: int

    def columns(self, block: slice) -> dict[str, pa.Array]:
        """The columns of the table, except the key, for a block of rows."""
        group, kept = self.group[block], self.keep[block]
        at = np.searchsorted(self.kept_rows, self.kept_row[block])
        rungs = pa.array(self.rungs, pa.string())
        return {
            "group": self.names.take(pa.array(group, mask=group < 0)),
            "group_size": pa.array(np.where(group < 0, 1, self.sizes[group] if len(self.sizes) else 1)),
            "rung": rungs.take(pa.array(self.rung[block], mask=kept)),
            "duplicate_of": self.kept_ids.take(pa.array(at, mask=kept)),
            "duplicate_in": self._places(self.kept_row[block]),
            **self.distances.columns(block),
            "keep": pa.array(kept),
        }

    def _places(self, kept_row: Indices) -> pa.Array:
        """The reference that each kept row is in, null for those of the dataset itself."""
        source = np.searchsorted([end for _, end in self.sources], kept_row, side="right")
        return pa.array([uri for uri, _ in self.sources]).take(pa.array(source, mask=source == 0))


def decide(rows: Rows, ladder: Sequence[RungPairs], settings: DedupSettings, identity: Identity) -> DedupDecisions:
    """Group the rows and choose those to keep. Raises ConfigError for an order that DuckDB rejects."""
    roots = _roots(rows.count, ladder)
    # A root is the smallest row, and references come last: a group without a row of the dataset itself is left out.
    members = np.flatnonzero((np.bincount(roots, minlength=rows.count)[roots] > 1) & (roots < rows.own))
    chosen = in_keep_order(rows, members, roots[members], settings, identity)
    ordered = chosen["row"].to_numpy()
    held = np.zeros(rows.count, bool)
    held[ordered] = chosen["_kept"].to_numpy()
    keep, both = rows_to_keep(InOrder(ordered, roots, held, np.arange(rows.count) >= rows.own), ladder)
    place = np.zeros(rows.count, np.int64)
    place[ordered] = np.arange(len(ordered))
    dropped = np.flatnonzero(~keep[: rows.own])
    kept_row, rung = np.full(rows.count, _NONE), np.full(rows.count, _NONE, np.int8)
    kept_row[dropped], rung[dropped] = nearest_kept(ladder, dropped, keep, place, roots)
    group = np.full(rows.count, _NONE)
    numbers = np.unique(roots[members])
    group[members] = np.searchsorted(numbers, roots[members])
    rungs = tuple(pairs.rung for pairs in ladder)
    by_row = np.argsort(ordered)
    return DedupDecisions(
        names=group_names(rows),
        group=group[: rows.own],
        sizes=np.bincount(group[members[members < rows.own]], minlength=len(numbers)),
        rung=rung[: rows.own],
        rungs=rungs,
        kept_row=kept_row[: rows.own],
        sources=rows.sources,
        kept_rows=ordered[by_row],
        kept_ids=chosen["id"].combine_chunks().take(pa.array(by_row)),
        distances=Distances.of_pairs(rows, dropped, kept_row[dropped], rung[dropped], rungs).placed(rows.own, dropped),
        keep=keep[: rows.own],
        both=both,
    )


def _roots(count: int, ladder: Sequence[RungPairs]) -> Indices:
    groups = UnionFind(count)
    for pairs in ladder:
        groups.join(*pairs.linked())
    return groups.roots
