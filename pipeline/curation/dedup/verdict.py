"""Groups, the row of each that stays, and by which rung the others are its duplicates.

In: gathered rows and the links of every rung, strongest first. Out: of every row what the table says about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.curation.dedup.choice import kept_rows
from pipeline.curation.dedup.groups import Groups
from pipeline.curation.dedup.links import Link
from pipeline.curation.dedup.pairs.compare import cosines
from pipeline.curation.dedup.rows import Mask, Numbers, Rows
from pipeline.curation.dedup.settings import TEXT_RUNGS, DedupSettings
from pipeline.curation.vectors import IMAGE, TEXT
from pipeline.dataset.identity import Identity
from pipeline.vocabulary import Rung

_NONE = -1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said about N rows in G groups.

    Attributes:
        names: (G,) of each group its smallest id.
        kept: (G,) of each group the id of the row that stays.
        group: (N,) the group, -1 for a row that is alone.
        rung: (N,) place in `rungs` of the rung that joined a row, -1 for rows that stay.
        rungs: the ladder.
        cosine: (N,) with the row that stays, NaN where none was computed.
        keep: (N,) whether the row stays.
    """

    names: pa.Array
    kept: pa.Array
    group: Numbers
    rung: npt.NDArray[np.int8]
    rungs: tuple[Rung, ...]
    cosine: npt.NDArray[np.float32]
    keep: Mask

    def columns(self, some: slice) -> dict[str, pa.Array]:
        """The table's columns, but for the key, of some rows."""
        group = pa.array(self.group[some], mask=self.group[some] < 0)
        dropped = ~self.keep[some]
        rungs = pa.array([str(rung) for rung in self.rungs], pa.string())
        return {
            "group": self.names.take(group),
            "rung": rungs.take(pa.array(self.rung[some], mask=~dropped)),
            "duplicate_of": self.kept.take(pa.array(self.group[some], mask=~dropped)),
            "cosine": pa.array(self.cosine[some], mask=np.isnan(self.cosine[some])),
            "keep": pa.array(self.keep[some]),
        }


def judge(rows: Rows, links: Sequence[Link], settings: DedupSettings, identity: Identity) -> Verdict:
    """Group the rows, and choose. Raises ConfigError for an order that DuckDB does not understand."""
    groups = Groups(rows.count)
    for link in links:
        groups.join(link.first, link.second)
    size = np.bincount(groups.smallest, minlength=rows.count)
    members = np.flatnonzero(size[groups.smallest] > 1)
    chosen = kept_rows(rows, members, groups.smallest[members], settings, identity)
    group = np.full(rows.count, _NONE)
    group[members] = np.searchsorted(chosen["_group"].to_numpy(), groups.smallest[members])
    kept_row = chosen["row"].to_numpy()
    keep = np.ones(rows.count, bool)
    keep[members] = False
    keep[kept_row] = True
    dropped = np.flatnonzero(~keep)
    rungs = tuple(link.rung for link in links)
    rung = np.full(rows.count, _NONE, np.int8)
    rung[dropped] = _joined_by(links, rows.count, dropped, kept_row[group[dropped]])
    cosine = np.full(rows.count, np.nan, np.float32)
    cosine[dropped] = _cosines(rows, dropped, kept_row[group[dropped]], rung[dropped], rungs)
    names, kept = chosen["_name"].combine_chunks(), chosen["id"].combine_chunks()
    return Verdict(names, kept, group, rung, rungs, cosine, keep)


def _joined_by(links: Sequence[Link], count: int, dropped: Numbers, kept: Numbers) -> npt.NDArray[np.int8]:
    """The strongest rung on which a row is a duplicate of the one that stays, else the strongest that it has at all."""
    any_rung = np.full(count, _NONE, np.int8)
    for place in reversed(range(len(links))):
        any_rung[links[place].first] = place
        any_rung[links[place].second] = place
    found = any_rung[dropped]
    for place in reversed(range(len(links))):
        found[links[place].holds(dropped, kept)] = place
    return found


def _cosines(
    rows: Rows, dropped: Numbers, kept: Numbers, rung: npt.NDArray[np.int8], rungs: Sequence[Rung]
) -> npt.NDArray[np.float64]:
    """Cosine of the vectors that a row's rung is about, where this run has read them; NaN for a row without one.

    Equal pixels have one vector, though a model that saw them in different batches may have rounded otherwise.
    """
    found = np.full(len(dropped), np.nan)
    about_texts = np.isin(rung, [place for place, name in enumerate(rungs) if name in TEXT_RUNGS])
    for vector, mask in ((IMAGE, ~about_texts), (TEXT, about_texts)):
        if vector in rows.vectors and mask.any():
            vectors = rows.matrix(vector)
            products = cosines(vectors, dropped[mask], vectors, kept[mask])
            found[mask] = np.where(products == 0, np.nan, np.minimum(products, 1))
    same = np.isin(rung, [place for place, name in enumerate(rungs) if name in (Rung.BYTES, Rung.PIXELS)])
    found[same & ~np.isnan(found)] = 1
    return found
