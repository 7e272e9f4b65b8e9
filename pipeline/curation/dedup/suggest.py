"""Shows what each threshold of near vectors would link, so that a person can choose it: pairs, in bands of cosines.

In: a dataset and settings. Out: for each rung that compares vectors, the number of pairs in bands around its threshold,
with examples: pairs that meet all other conditions of the settings. Nothing is decided or stored. All pairs are
compared in a small dataset; in a large one a sample of the vectors is compared with all, and the numbers of pairs are
estimates. The sample is the same on every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.curation.dedup.links.ladder import conditions_of
from pipeline.curation.dedup.links.rungs import read_by, require_columns, rungs_of, searches
from pipeline.curation.dedup.links.witnesses import RungWitnesses
from pipeline.curation.dedup.measured import OPTIONS, is_measured
from pipeline.curation.dedup.never import read_never
from pipeline.curation.dedup.pairs.compare import cosines
from pipeline.curation.dedup.pairs.incremental import VectorSearch
from pipeline.curation.dedup.pairs.projections import block_slices
from pipeline.curation.dedup.rows import Indices, Mask, Rows, gather_rows
from pipeline.curation.dedup.settings import DedupSettings, parts_of
from pipeline.dataset.dataset import Dataset
from pipeline.errors import UsageError
from pipeline.phases import OnPhase, OnRows, counted, ignore
from pipeline.scratch.workspace import Workspace
from pipeline.vocabulary import Rung

#: A band is a third of the distance between the threshold and 1; there are so many below it and above it.
_BELOW, _ABOVE = 6, 3
#: Examples of a band.
_EXAMPLES = 6
#: About so many pairs are compared, with at least so many vectors of the sample.
_PAIRS, _LEAST_SAMPLE = 2**31, 512
_TILE = (1024, 8192)
#: Of the ends of bands: none of a threshold that a person writes is lost, and those of rounding errors are.
_DIGITS = 12

Cosines = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PairMember:
    """A row of a pair; the first two values are its key."""

    id: str
    source_fingerprint: str
    text: str | None


@dataclass(frozen=True, slots=True)
class SuggestedPair:
    """Two rows and their cosine."""

    cosine: float
    one: PairMember
    other: PairMember


@dataclass(frozen=True, slots=True)
class CosineBand:
    """The pairs with a cosine from `low` to below `high`.

    Attributes:
        pairs: how many there are.
        pairs_from: how many would be linked by the threshold `low`: those of this band and of all above.
        examples: some of them, most similar first.
    """

    low: float
    high: float
    pairs: int
    pairs_from: int
    examples: tuple[SuggestedPair, ...]


@dataclass(frozen=True, slots=True)
class ThresholdSuggestion:
    """What thresholds of a rung would link.

    Attributes:
        rung: its name.
        option: the option of its threshold.
        threshold: the threshold of the settings, the lower end of a band.
        measured: whether it was measured with the dataset's model.
        vectors: distinct vectors of the dataset; with further conditions, rows that differ in what is compared.
        sampled: how many of them were compared with all. If not all, the numbers of pairs are estimates.
        bands: from the most similar pairs down.
    """

    rung: str
    option: str
    threshold: float
    measured: bool
    vectors: int
    sampled: int
    bands: tuple[CosineBand, ...]


def suggest(out: str, settings: DedupSettings, on_phase: OnPhase = ignore) -> tuple[ThresholdSuggestion, ...]:
    """Survey the pairs of the dataset at `out` around the thresholds of `settings`.

    Raises:
        UsageError, ConfigError: no rung of the settings compares vectors, or they do not fit the dataset.
        IdentityError: there is no dataset.
        StorageError, RunError: it cannot be read.
    """
    dataset = Dataset.open(out)
    rungs = rungs_of(settings, dataset.identity)
    by_rung, never = searches(settings, rungs), read_never(settings.not_duplicates)
    if not by_rung:
        raise UsageError("--suggest is about the thresholds of vectors: add --rung image or --rung near-text.")
    near = [name for name in rungs if by_rung.keys() & set(parts_of(name))]
    columns = read_by(near) | set(require_columns(settings, dataset.identity))
    columns |= {"text"} & set(dataset.identity.schema.names)
    with Workspace() as work:
        vectors = [search.vector for search in by_rung.values()]
        rows = gather_rows(dataset, work, sorted(columns), vectors, counted(on_phase, "Reading rows"))
        conditions = conditions_of(rows, settings, never)
        return tuple(
            _suggestion(
                *(rows, rung, by_rung[rung], dataset, on_phase),
                RungWitnesses.of(rows, rung, near, settings, by_rung, conditions),
            )
            for rung in by_rung
        )


def _suggestion(
    rows: Rows, rung: Rung, search: VectorSearch, dataset: Dataset, on_phase: OnPhase, witnesses: RungWitnesses
) -> ThresholdSuggestion:
    distinct = np.unique(witnesses.firsts[witnesses.firsts >= 0])
    step = (1 - search.threshold) / _ABOVE
    edges = np.round(search.threshold + step * np.arange(-_BELOW, _ABOVE + 1), _DIGITS)
    survey = _Survey(rows, search.vector, edges, _sample(rows, distinct), witnesses.test)
    survey.compare(distinct, counted(on_phase, "Comparing vectors", len(survey.sample) * len(distinct)))
    return ThresholdSuggestion(
        rung=rung,
        option=OPTIONS[rung],
        threshold=search.threshold,
        measured=is_measured(dataset.identity, rung, search.threshold),
        vectors=len(distinct),
        sampled=len(survey.sample),
        bands=tuple(survey.bands(len(distinct))),
    )


def _sample(rows: Rows, distinct: Indices) -> Indices:
    """Some of the distinct rows, in an order that says nothing about them."""
    size = min(len(distinct), max(_LEAST_SAMPLE, _PAIRS // max(1, len(distinct))))
    rows.work.register("distinct_rows", pa.table({"row": distinct}))
    sql = f"SELECT row FROM rows SEMI JOIN distinct_rows USING (row) ORDER BY md5(id), row LIMIT {size}"
    return np.array([row for (row,) in rows.work.rows(sql)], np.int64)


class _Survey:
    """Compares sampled rows with all and counts the pairs of each band that pass `test`.

    Of each row it keeps one partner a band.
    """

    def __init__(
        self,
        rows: Rows,
        vector: str,
        edges: npt.NDArray[np.float64],
        sample: Indices,
        test: Callable[[Indices, Indices], Mask],
    ) -> None:
        self.sample, self._test = sample, test
        self._rows, self._vectors, self._edges = rows, rows.matrix(vector), edges
        self._counts = np.zeros(len(edges) - 1, np.int64)
        self._partners = np.full((len(edges) - 1, len(sample)), -1)

    def compare(self, distinct: Indices, on_pairs: OnRows) -> None:
        """Compare the sample with all distinct rows."""
        for other in block_slices(len(distinct), _TILE[1]):
            vectors = self._vectors[distinct[other]]
            for one in block_slices(len(self.sample), _TILE[0]):
                self._add(one.start, distinct[other], self._vectors[self.sample[one]] @ vectors.T)
                on_pairs((one.stop - one.start) * len(vectors))

    def _add(self, start: int, others: Indices, found: Cosines) -> None:
        i, j = np.nonzero(found >= self._edges[0])
        apart = self.sample[start + i] != others[j]
        i, j = i[apart], j[apart]
        met = self._test(self.sample[start + i], others[j])
        i, j = i[met], j[met]
        band = np.minimum(np.searchsorted(self._edges, found[i, j], side="right") - 1, len(self._counts) - 1)
        self._counts += np.bincount(band, minlength=len(self._counts))
        places, first = np.unique(band * len(self.sample) + start + i, return_index=True)
        partners = self._partners.reshape(-1)
        new = partners[places] < 0
        partners[places[new]] = others[j[first[new]]]

    def bands(self, distinct: int) -> Iterator[CosineBand]:
        """The bands, from the most similar pairs down. A pair is found from both ends, if both are in the sample."""
        pairs = np.rint(self._counts * (distinct / max(1, len(self.sample)) / 2)).astype(np.int64)
        for band in reversed(range(len(pairs))):
            low, high = float(self._edges[band]), float(self._edges[band + 1])
            yield CosineBand(low, high, int(pairs[band]), int(pairs[band:].sum()), self._examples(band))

    def _examples(self, band: int) -> tuple[SuggestedPair, ...]:
        known = np.flatnonzero(self._partners[band] >= 0)
        both = np.sort(np.stack([self.sample[known], self._partners[band, known]], axis=1), axis=1)
        chosen = both[np.sort(np.unique(both, axis=0, return_index=True)[1])[:_EXAMPLES]]
        members = self._members(np.unique(chosen))
        values = np.minimum(cosines(self._vectors, chosen[:, 0], self._vectors, chosen[:, 1]), 1).round(6).tolist()
        pairs = [
            SuggestedPair(value, members[one], members[other])
            for value, (one, other) in zip(values, chosen.tolist(), strict=True)
        ]
        return tuple(sorted(pairs, key=lambda pair: (-pair.cosine, pair.one.id)))

    def _members(self, rows: Indices) -> dict[int, PairMember]:
        self._rows.work.register("shown", pa.table({"row": rows}))
        text = "text" if "text" in self._rows.schema.names else "NULL"
        sql = f"SELECT row, id, source_fingerprint, {text} FROM rows SEMI JOIN shown USING (row)"
        return {int(row): PairMember(*values) for row, *values in self._rows.work.rows(sql)}
