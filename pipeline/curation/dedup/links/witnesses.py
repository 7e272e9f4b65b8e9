"""What two rows must meet besides a rung that compares vectors, if its threshold alone is in question.

In: gathered rows, the settings, and the rung. Out: `RungWitnesses`. On the rung `image+text`, texts are a witness of
the threshold of images; if the rung `image` is there as well, there is none. Columns in which rows must agree, and
pairs that are no duplicates, are conditions of every rung.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.curation.dedup.links.conditions import Conditions, equal_rows
from pipeline.curation.dedup.links.likeness import EQUAL, Likeness, by_phash, by_turned_phash, by_value, by_vector
from pipeline.curation.dedup.pairs.incremental import VectorSearch
from pipeline.curation.dedup.rows import VECTOR_KEYS, Indices, Mask, Rows
from pipeline.curation.dedup.settings import DedupSettings, parts_of
from pipeline.vocabulary import Rung


@dataclass(frozen=True, slots=True)
class RungWitnesses:
    """The witnesses of one rung.

    Attributes:
        firsts: (N,) for every row the first one that is equal to it in all that is compared; -1 for rows that the rung
            does not compare.
    """

    firsts: Indices
    _sets: tuple[tuple[Likeness, ...], ...]
    _conditions: Conditions

    @classmethod
    def of(
        cls,
        rows: Rows,
        rung: Rung,
        rungs: Sequence[str],
        settings: DedupSettings,
        by_rung: Mapping[Rung, VectorSearch],
        conditions: Conditions,
    ) -> RungWitnesses:
        """Those of `rung`, which is a part of some of the `rungs`."""
        sets = [[part for part in parts_of(name) if part != rung] for name in rungs if rung in parts_of(name)]
        sets = [[]] if [] in sets else sets
        others = {part: _compared(rows, part, settings, by_rung) for parts in sets for part in parts}
        own = rows.firsts(VECTOR_KEYS[by_rung[rung].vector])
        agree = [] if conditions.agree is None else [conditions.agree]
        columns = [own, *(firsts + 1 for firsts, _ in others.values()), *agree]
        return cls(
            equal_rows(columns, own >= 0), tuple(tuple(others[part][1] for part in parts) for parts in sets), conditions
        )

    def test(self, one: Indices, other: Indices) -> Mask:
        """Whether `one[i]` and `other[i]` would be duplicates if their vectors were near."""
        met = self._conditions.test(one, other, len(self.firsts))
        found = np.zeros(len(one), bool)
        for likenesses in self._sets:
            found |= np.logical_and.reduce([met, *(likeness.test(one, other) for likeness in likenesses)])
        return found


def _compared(
    rows: Rows, rung: Rung, settings: DedupSettings, by_rung: Mapping[Rung, VectorSearch]
) -> tuple[Indices, Likeness]:
    """For every row the first row with its value on a rung, or -1; and how rows are compared there."""
    if rung in by_rung:
        search = by_rung[rung]
        firsts = rows.firsts(VECTOR_KEYS[search.vector])
        return firsts, by_vector(rows.matrix(search.vector), firsts, search.threshold)
    firsts = rows.firsts(EQUAL.get(rung, "image_phash"))
    if rung in EQUAL:
        return firsts, by_value(firsts)
    hashes = rows.column("image_phash")
    if rung is Rung.PHASH:
        return firsts, by_phash(hashes, settings.phash_radius)
    return firsts, by_turned_phash(hashes, settings.mirrored_radius)
