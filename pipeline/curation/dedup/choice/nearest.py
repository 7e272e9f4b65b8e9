"""Finds for every dropped row the kept row that it is a duplicate of: on the strongest rung, the nearest one.

In: the rows that stay, and the duplicates on every rung. Out: a kept row and a rung for each dropped row. What is found
follows from the rows alone, not from which near pairs of a dense cluster happen to be listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.curation.dedup.choice.greedy import both_ways
from pipeline.curation.dedup.links.pairs import RungPairs
from pipeline.curation.dedup.pairs.projections import block_slices
from pipeline.curation.dedup.rows import Indices, Mask

_NONE = -1
_TILE_ROWS = 2048


def nearest_kept(
    ladder: Sequence[RungPairs], dropped: Indices, keep: Mask, place: Indices, group: Indices
) -> tuple[Indices, npt.NDArray[np.int8]]:
    """The kept row and the position in `ladder`, for each dropped row.

    Args:
        ladder: the duplicates on each rung, strongest first.
        dropped: the dropped rows.
        keep: (N,) whether a row stays.
        place: (N,) its place in keep order; of rows that are equally near, the first is named.
        group: (N,) its group.
    """
    kept = np.full(len(dropped), _NONE)
    rung = np.full(len(dropped), _NONE, np.int8)
    for position, pairs in enumerate(ladder):
        open_ = np.flatnonzero(kept == _NONE)
        found = _on_rung(pairs, dropped[open_], keep, place, group)
        kept[open_] = found
        rung[open_[found != _NONE]] = position
    return kept, rung


def _on_rung(pairs: RungPairs, rows: Indices, keep: Mask, place: Indices, group: Indices) -> Indices:
    first_kept = _first_kept(pairs.firsts, keep, place)
    classes = pairs.firsts[rows]
    found = np.where(classes >= 0, first_kept[classes], _NONE)
    wanted = np.zeros(len(keep), bool)
    wanted[classes[(classes >= 0) & (found == _NONE)]] = True
    best = np.full(len(keep), _NONE)
    source, target = both_ways(pairs)
    useful = wanted[source] & (first_kept[target] != _NONE)
    source, target = source[useful], target[useful]
    if len(pairs.crowded):
        parts = [(source, target), *_within_crowds(pairs, wanted, first_kept, group)]
        source, target = (np.concatenate(ends) for ends in zip(*parts, strict=True))
    score = pairs.likeness.score(source, target)
    order = np.lexsort((place[first_kept[target]], -score, source))
    source, target = source[order], target[order]
    one_each = np.diff(source, prepend=_NONE) != 0
    best[source[one_each]] = first_kept[target[one_each]]
    return np.where((classes >= 0) & (found == _NONE), best[classes], found)


def _first_kept(firsts: Indices, keep: Mask, place: Indices) -> Indices:
    """For each class, by its first row, the kept row of it that comes first in keep order; -1 without one."""
    found = np.full(len(firsts), _NONE)
    rows = np.flatnonzero(keep & (firsts >= 0))
    rows = rows[np.argsort(-place[rows], kind="stable")]
    found[firsts[rows]] = rows  # of several, the last one assigned remains
    return found


def _within_crowds(
    pairs: RungPairs, wanted: Mask, first_kept: Indices, group: Indices
) -> Iterator[tuple[Indices, Indices]]:
    """The near pairs of a dropped and a kept class of the same dense cluster."""
    dropped = pairs.crowded[wanted[pairs.crowded]]
    kept = pairs.crowded[first_kept[pairs.crowded] != _NONE]
    kept = kept[np.argsort(group[kept], kind="stable")]
    for number in np.unique(group[dropped]):
        low, high = np.searchsorted(group[kept], [number, number + 1])
        others, some = kept[low:high], dropped[group[dropped] == number]
        for block in block_slices(len(some), _TILE_ROWS):
            one = some[block]
            maybe = pairs.likeness.maybe
            near = maybe(one, others) if maybe else np.ones((len(one), len(others)), bool)
            i, j = np.nonzero(near)
            met = pairs.likeness.test(one[i], others[j])
            yield one[i[met]], others[j[met]]
