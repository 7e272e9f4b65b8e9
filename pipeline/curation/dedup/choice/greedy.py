"""Decides which rows stay: each row, in keep order, unless a row that stays already is its duplicate.

In: the rows of all groups in keep order, and the duplicates on every rung. Out: a mask of rows that stay. Every dropped
row is a duplicate of a row that stays. A row that must stay (an earlier run kept it) does so, and rows of a reference
come before all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.curation.dedup.links.likeness import Likeness
from pipeline.curation.dedup.links.pairs import RungPairs
from pipeline.curation.dedup.rows import Indices, Mask


@dataclass(frozen=True, slots=True)
class InOrder:
    """The rows of all groups.

    Attributes:
        rows: row numbers, in keep order; rows of one group may be apart.
        group: (N,) the group of each row.
        held: (N,) rows that must stay, unless a reference has them.
        reference: (N,) rows of other datasets.
    """

    rows: Indices
    group: Indices
    held: Mask
    reference: Mask


def rows_to_keep(ordered: InOrder, ladder: Sequence[RungPairs]) -> tuple[Mask, int]:
    """(N,) whether a row stays; rows without a group do. And how many held rows are duplicates of another one."""
    keep = np.ones(len(ordered.group), bool)
    covers = [_Cover(pairs, ordered.group) for pairs in ladder]
    reference = ordered.reference[ordered.rows]
    for row in ordered.rows[reference].tolist():
        for cover in covers:
            cover.add(row)
    held = ordered.rows[~reference & ordered.held[ordered.rows]]
    # All are tested before one of them is added: they may be duplicates of each other by today's settings.
    stay = [row for row in held.tolist() if not any(cover.has(row) for cover in covers)]
    keep[held] = False
    keep[stay] = True
    both = 0
    for row in stay:
        both += any(cover.has(row) for cover in covers)
        for cover in covers:
            cover.add(row)
    for row in ordered.rows[~reference & ~ordered.held[ordered.rows]].tolist():
        if any(cover.has(row) for cover in covers):
            keep[row] = False
        else:
            for cover in covers:
                cover.add(row)
    return keep, both


class _Cover:
    """The rows that are duplicates of a row that stays, on one rung."""

    def __init__(self, pairs: RungPairs, group: Indices) -> None:
        count = len(pairs.firsts)
        self._class, self._group = pairs.firsts.data, group.data
        self._covered, self._crowded = bytearray(count), bytearray(count)
        for row in pairs.crowded.tolist():
            self._crowded[row] = 1
        source, target = both_ways(pairs)
        order = np.argsort(source, kind="stable")
        self._near = target[order].data
        self._start = np.searchsorted(source[order], np.arange(count + 1)).data if len(source) else None
        self._likeness = pairs.likeness
        self._crowds: dict[int, _Crowd] = {}

    def add(self, row: int) -> None:
        """Note that the row stays."""
        first = self._class[row]
        if first < 0:
            return
        self._covered[first] = 1
        if self._start is not None:
            for near in self._near[self._start[first] : self._start[first + 1]]:
                self._covered[near] = 1
        if self._crowded[first]:
            self._crowds.setdefault(self._group[row], _Crowd(self._likeness)).add(first)

    def has(self, row: int) -> bool:
        """Whether the row is a duplicate of a row that stays."""
        first = self._class[row]
        if first < 0:
            return False
        if not self._covered[first] and self._crowded[first]:
            crowd = self._crowds.get(self._group[row])
            if crowd and crowd.has(first):
                self._covered[first] = 1
        return bool(self._covered[first])


class _Crowd:
    """The kept rows of a dense cluster, whose near pairs are not all listed."""

    def __init__(self, likeness: Likeness) -> None:
        self._likeness = likeness
        self._rows, self._count = np.empty(16, np.int64), 0

    def add(self, row: int) -> None:
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self._count] = row
        self._count += 1

    def has(self, row: int) -> bool:
        kept, one = self._rows[: self._count], np.array([row])
        if self._likeness.maybe:
            kept = kept[self._likeness.maybe(one, kept)[0]]
        return bool(len(kept) and self._likeness.test(np.full(len(kept), row), kept).any())


def both_ways(pairs: RungPairs) -> tuple[Indices, Indices]:
    """The listed pairs in both directions."""
    return np.concatenate([pairs.first, pairs.second]), np.concatenate([pairs.second, pairs.first])
