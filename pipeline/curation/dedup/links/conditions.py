"""Further conditions of duplicates: several rungs at once, columns that must agree, pairs that are none.

In: the duplicates on each rung. Out: those that meet every condition, again as classes and near pairs. Two rows can
only be duplicates if they are connected on every part and agree in the columns, so that small buckets of rows are left,
in which all pairs are compared. That also covers dense clusters, whose near pairs are not all listed. If pairs that are
none are the only condition of a rung, only their rows are compared again, each with those of its bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.curation.dedup.links.likeness import Likeness, Scores, same
from pipeline.curation.dedup.links.pairs import RungPairs
from pipeline.curation.dedup.pairs.compare import TilePairs, thinned
from pipeline.curation.dedup.pairs.near_pairs import NearPairs
from pipeline.curation.dedup.pairs.projections import block_slices
from pipeline.curation.dedup.rows import Indices, Mask
from pipeline.curation.dedup.union_find import UnionFind

_TILE_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Conditions:
    """What two rows must meet besides a rung.

    Attributes:
        agree: (N,) numbers that must be equal; None if no column was named.
        never: pairs of rows that are no duplicates, as `low * N + high`, sorted.
        apart: the rows in these pairs.
    """

    agree: Indices | None
    never: Indices
    apart: Indices

    @classmethod
    def of(cls, count: int, agree: Indices | None, pairs: Indices) -> Conditions:
        """The conditions of `count` rows; `pairs` is (M, 2)."""
        ordered = np.sort(pairs, axis=1)
        return cls(agree, np.unique(ordered[:, 0] * count + ordered[:, 1]), np.unique(pairs))

    @property
    def empty(self) -> bool:
        """Whether there are none."""
        return self.agree is None and not len(self.never)

    def test(self, one: Indices, other: Indices, count: int) -> Mask:
        """Whether `one[i]` and `other[i]` meet them."""
        met = np.ones(len(one), bool)
        if self.agree is not None:
            met &= self.agree[one] == self.agree[other]
        if len(self.never):
            met &= ~np.isin(np.minimum(one, other) * count + np.maximum(one, other), self.never)
        return met


def under_conditions(rung: str, parts: Sequence[RungPairs], conditions: Conditions) -> RungPairs:
    """The rows that are duplicates on all of `parts` and meet the conditions."""
    count = len(parts[0].firsts)
    compared = np.logical_and.reduce([part.firsts >= 0 for part in parts])
    agree = [conditions.agree] if conditions.agree is not None else []
    own = np.full(count, count)
    own[conditions.apart] = conditions.apart
    firsts = equal_rows([*(part.firsts for part in parts), *agree, own], compared)
    buckets = equal_rows([*(_roots(part) for part in parts), *agree], compared)

    def test(one: Indices, other: Indices) -> Mask:
        met = conditions.test(one, other, count)
        met[met] = np.logical_and.reduce([part.likeness.test(one[met], other[met]) for part in parts])
        return met | same(firsts, one, other)

    maybe = [part.likeness.maybe for part in parts if part.likeness.maybe]
    likeness = Likeness(
        test,
        _first_score(parts),
        (lambda one, other: np.logical_and.reduce([near(one, other) for near in maybe])) if maybe else None,
    )
    if len(parts) == 1 and conditions.agree is None:
        pairs = _without_some(parts[0], conditions.apart, firsts, buckets, likeness)
    else:
        pairs = NearPairs.of(_near(firsts, buckets, np.ones(count, bool), likeness))
    return RungPairs(rung, firsts, pairs.first, pairs.second, pairs.crowded, likeness)


def _without_some(part: RungPairs, apart: Indices, firsts: Indices, buckets: Indices, likeness: Likeness) -> NearPairs:
    """The near pairs of the classes `firsts`, which are those of `part` with the rows `apart` as classes of their own.

    Pairs of other classes are the same as before. Those that are listed may no longer connect a dense cluster, if they
    did so through a pair that is none; then all of its pairs are compared.
    """
    split = np.isin(part.firsts, part.firsts[apart]) & (part.firsts >= 0)
    whole = ~split[part.first] & ~split[part.second]
    known = TilePairs(part.first[whole], part.second[whole], part.crowded[~split[part.crowded]])
    found = NearPairs.of([known, *_near(firsts, buckets, split, likeness)])
    groups = UnionFind(len(firsts))
    groups.join(found.first, found.second)
    numbers, counts = np.unique(buckets[np.unique(groups.roots[firsts[firsts >= 0]])], return_counts=True)
    torn = np.intersect1d(numbers[counts > 1], buckets[part.crowded])
    return NearPairs.of([found.as_tile(), *_near(firsts, buckets, np.isin(buckets, torn), likeness)])


def _first_score(parts: Sequence[RungPairs]) -> Callable[[Indices, Indices], Scores]:
    """The score of the strongest part that tells near from nearer."""
    graded = [part.likeness for part in parts if part.likeness.maybe]
    return (graded or [parts[0].likeness])[0].score


def equal_rows(columns: Sequence[Indices], valid: Mask) -> Indices:
    """For every row the first row with equal values, from 0, in all columns; -1 for rows that are not valid."""
    rows = np.flatnonzero(valid)
    code = np.zeros(len(rows), np.int64)
    for column in columns:
        values = column[rows]
        code = np.unique(code * (values.max(initial=0) + 1) + values, return_inverse=True)[1]
    found = np.full(len(valid), -1)
    if len(rows):
        found[rows] = rows[np.unique(code, return_index=True)[1]][code]
    return found


def _roots(part: RungPairs) -> Indices:
    groups = UnionFind(len(part.firsts))
    groups.join(*part.linked())
    return groups.roots


def _near(firsts: Indices, buckets: Indices, sought: Mask, likeness: Likeness) -> Iterator[TilePairs]:
    """The near pairs of classes in the same bucket, at least one of which is sought."""
    classes = np.unique(firsts[firsts >= 0])
    classes = classes[np.isin(buckets[classes], buckets[classes[sought[classes]]])]
    ordered = classes[np.lexsort((~sought[classes], buckets[classes]))]
    starts = np.flatnonzero(np.diff(buckets[ordered], prepend=-1))
    ends = np.append(starts[1:], len(ordered))
    for bucket in np.flatnonzero(ends - starts > 1):
        rows = ordered[starts[bucket] : ends[bucket]]
        for block in block_slices(int(sought[rows].sum()), _TILE_ROWS):
            yield _tile(rows[block], rows[block], likeness)
            later = rows[block.stop :]
            yield from (_tile(rows[block], later[other], likeness) for other in block_slices(len(later), _TILE_ROWS))


def _tile(first: Indices, second: Indices, likeness: Likeness) -> TilePairs:
    near = likeness.maybe(first, second) if likeness.maybe else np.ones((len(first), len(second)), bool)
    i, j = np.nonzero(near)
    once = first[i] < second[j] if first[0] == second[0] else np.ones(len(i), bool)
    i, j = i[once], j[once]
    met = likeness.test(first[i], second[j])
    return thinned(first, second, i[met], j[met])
