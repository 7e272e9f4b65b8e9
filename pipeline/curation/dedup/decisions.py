"""Groups the duplicates, chooses the row of each group to keep, and finds the rung of every dropped row.

In: gathered rows and the pairs of every rung, strongest first. Out: the columns of the table of duplicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.curation.dedup.keep import kept_rows
from pipeline.curation.dedup.pairs.compare import cosines
from pipeline.curation.dedup.rows import Indices, Mask, Rows
from pipeline.curation.dedup.rung_pairs import RungPairs
from pipeline.curation.dedup.settings import TEXT_RUNGS, DedupSettings
from pipeline.curation.dedup.union_find import UnionFind
from pipeline.curation.vectors import IMAGE, TEXT
from pipeline.dataset.identity import Identity
from pipeline.vocabulary import Rung

_NONE = -1


@dataclass(frozen=True, slots=True)
class DedupDecisions:
    """What to keep and what to drop of N rows in G groups.

    Attributes:
        names: (G,) the smallest id of each group.
        kept: (G,) the id of the row of each group that is kept.
        group: (N,) the group of each row, -1 for a row without duplicates.
        rung: (N,) position in `rungs` of the rung on which a row was dropped, -1 for kept rows.
        rungs: strongest first.
        cosine: (N,) with the kept row, NaN where none was computed.
        keep: (N,) whether the row is kept.
    """

    names: pa.Array
    kept: pa.Array
    group: Indices
    rung: npt.NDArray[np.int8]
    rungs: tuple[Rung, ...]
    cosine: npt.NDArray[np.float32]
    keep: Mask

    def columns(self, block: slice) -> dict[str, pa.Array]:
        """The columns of the table, except the key, for a block of rows."""
        group = pa.array(self.group[block], mask=self.group[block] < 0)
        kept = self.keep[block]
        rungs = pa.array([str(rung) for rung in self.rungs], pa.string())
        return {
            "group": self.names.take(group),
            "rung": rungs.take(pa.array(self.rung[block], mask=kept)),
            "duplicate_of": self.kept.take(pa.array(self.group[block], mask=kept)),
            "cosine": pa.array(self.cosine[block], mask=np.isnan(self.cosine[block])),
            "keep": pa.array(kept),
        }


def decide(rows: Rows, ladder: Sequence[RungPairs], settings: DedupSettings, identity: Identity) -> DedupDecisions:
    """Group the rows and choose those to keep. Raises ConfigError for an order that DuckDB rejects."""
    roots = _roots(rows.count, ladder)
    members = np.flatnonzero(np.bincount(roots, minlength=rows.count)[roots] > 1)
    chosen = kept_rows(rows, members, roots[members], settings, identity)
    group = np.full(rows.count, _NONE)
    group[members] = np.searchsorted(chosen["_group"].to_numpy(), roots[members])
    kept_row = chosen["row"].to_numpy()
    keep = np.ones(rows.count, bool)
    keep[members] = False
    keep[kept_row] = True
    dropped = np.flatnonzero(~keep)
    rungs = tuple(pairs.rung for pairs in ladder)
    rung = np.full(rows.count, _NONE, np.int8)
    rung[dropped] = _rung_of(ladder, rows.count, dropped, kept_row[group[dropped]])
    cosine = np.full(rows.count, np.nan, np.float32)
    cosine[dropped] = _cosines(rows, dropped, kept_row[group[dropped]], rung[dropped], rungs)
    names, kept = chosen["_name"].combine_chunks(), chosen["id"].combine_chunks()
    return DedupDecisions(names, kept, group, rung, rungs, cosine, keep)


def _roots(count: int, ladder: Sequence[RungPairs]) -> Indices:
    groups = UnionFind(count)
    for pairs in ladder:
        groups.join(pairs.first, pairs.second)
    return groups.roots


def _rung_of(ladder: Sequence[RungPairs], count: int, dropped: Indices, kept: Indices) -> npt.NDArray[np.int8]:
    """The strongest rung on which a row duplicates the kept one; if none does, the strongest with any pair of it."""
    any_rung = np.full(count, _NONE, np.int8)
    for position, pairs in reversed(tuple(enumerate(ladder))):
        any_rung[pairs.first] = position
        any_rung[pairs.second] = position
    found = any_rung[dropped]
    for position, pairs in reversed(tuple(enumerate(ladder))):
        found[pairs.test(dropped, kept)] = position
    return found


def _cosines(
    rows: Rows, dropped: Indices, kept: Indices, rung: npt.NDArray[np.int8], rungs: Sequence[Rung]
) -> npt.NDArray[np.float64]:
    """Cosine of the vectors that a row's rung compares; NaN if this run has not read them or a row has none.

    It is 1 for equal bytes or pixels, although the model may have rounded their vectors differently in two batches.
    """
    found = np.full(len(dropped), np.nan)
    on_texts = np.isin(rung, [position for position, name in enumerate(rungs) if name in TEXT_RUNGS])
    for vector, mask in ((IMAGE, ~on_texts), (TEXT, on_texts)):
        if vector in rows.vectors and mask.any():
            vectors = rows.matrix(vector)
            products = cosines(vectors, dropped[mask], vectors, kept[mask])
            found[mask] = np.where(products == 0, np.nan, np.minimum(products, 1))
    same = np.isin(rung, [position for position, name in enumerate(rungs) if name in (Rung.BYTES, Rung.PIXELS)])
    found[same & ~np.isnan(found)] = 1
    return found
