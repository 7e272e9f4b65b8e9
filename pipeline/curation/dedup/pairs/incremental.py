"""Finds near vectors incrementally: vectors that no earlier run has compared are compared with all.

In: gathered rows with a vector. Out: the near pairs among the distinct vectors; the state that the next run continues
from is written back. Rows made from the same pixels or the same text share the vector of the first such row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.curation.dedup.pairs.cells import CellAssignment, train_cells
from pipeline.curation.dedup.pairs.near_pairs import (
    NearPairs,
    assign_all,
    count_comparisons,
    find_near_pairs,
    tiles,
    write_lists,
)
from pipeline.curation.dedup.pairs.projections import fit_projection, project_all
from pipeline.curation.dedup.pairs.state import CellIndex, PairState, read_state, state_uri, write_state
from pipeline.curation.dedup.parallel import ParallelMap
from pipeline.curation.dedup.rows import VECTOR_KEYS, Indices, Rows
from pipeline.curation.dedup.settings import digest
from pipeline.curation.vectors import Vectors
from pipeline.phases import OnPhase, counted

#: Cells are trained again once there are this many times the vectors they were trained on.
_GROWTH = 4
_FORMAT = 1
_PROJECTIONS, _LISTS = "projections.f32", "cells.f32"


@dataclass(frozen=True, slots=True)
class VectorSearch:
    """Which pairs are near, and how they are sought.

    Attributes:
        vector: name of the column.
        threshold: least cosine.
        border: see `DedupSettings.border`.
        against: the references whose vectors are also searched.
    """

    vector: str
    threshold: float
    border: float
    against: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of its state."""
        also = (
            {"against": sorted(self.against)} if self.against else {}
        )  # names without any are those of earlier versions
        return f"{self.vector}-{digest(threshold=self.threshold, border=self.border, format=_FORMAT, **also)}"

    @property
    def margin(self) -> float:
        """A vector visits the cells whose border is at most this far away."""
        return self.border * sqrt(2 - 2 * self.threshold)


@dataclass(frozen=True, slots=True)
class NearVectors:
    """The result of a search.

    Attributes:
        firsts: (N,) for every row the first row with the same vector; -1 without a vector.
        pairs: near pairs of distinct vectors, numbered in the order of their first rows.
        vectors: how many distinct vectors there are.
        new: how many of them no earlier run has compared.
        compared: how many pairs were compared.
    """

    firsts: Indices
    pairs: NearPairs
    vectors: int
    new: int
    compared: int


def find_near_vectors(out: str, rows: Rows, search: VectorSearch, pmap: ParallelMap, on_phase: OnPhase) -> NearVectors:
    """Find all near pairs in `rows`, and update the state at `out`."""
    key, uri = VECTOR_KEYS[search.vector], state_uri(out, search.name)
    firsts = rows.firsts(key)
    distinct = np.unique(firsts[firsts >= 0])
    state = read_state(uri, rows, key, distinct)
    new, compared = int(state.is_new.sum()), 0
    stale = bool(new) or state.count != len(distinct)
    if new or (stale and state.index is None and len(distinct)):
        state, compared = _Extension(rows, distinct, search, pmap, on_phase).extend(state)
    if stale and state.index:
        write_state(uri, _keys(rows, key, distinct), state)
    return NearVectors(firsts, state.pairs, len(distinct), new, compared)


@dataclass(frozen=True, slots=True)
class _Extension:
    """Compares the new vectors of a state with all vectors."""

    rows: Rows
    distinct: Indices
    search: VectorSearch
    pmap: ParallelMap
    on_phase: OnPhase

    def extend(self, state: PairState) -> tuple[PairState, int]:
        """The state that knows all vectors, and how many pairs were compared."""
        if state.index is None or len(self.distinct) > _GROWTH * state.trained_on:
            state = replace(state, index=None, trained_on=len(self.distinct))
        index, projections = self._project(state.index)
        state = replace(state, index=index, assignment=self._assign(state, index, projections))
        pairs, compared = self._compare(state, index, projections)
        for name in (_PROJECTIONS, _LISTS):
            Path(self.rows.work.path(name)).unlink()
        return replace(state, pairs=NearPairs.of([state.pairs.as_tile(), pairs.as_tile()])), compared

    def _project(self, index: CellIndex | None) -> tuple[CellIndex, Vectors]:
        """The index, made anew if there is none, and the projections of all vectors."""
        vectors = self.rows.matrix(self.search.vector)
        self.on_phase("Projecting vectors", 0, None)
        projection = index.projection if index else fit_projection(vectors, self.distinct, self.search.threshold)
        projections = project_all(self.rows.work.path(_PROJECTIONS), projection, vectors, self.distinct)
        self.on_phase("Making cells", 0, None)
        return index or CellIndex(projection, train_cells(projections)), projections

    def _assign(self, state: PairState, index: CellIndex, projections: Vectors) -> CellAssignment:
        """The cells of all vectors; those that the state already holds are not computed again."""
        numbers = np.flatnonzero(state.is_new) if state.index else np.arange(len(self.distinct))
        on_rows = counted(self.on_phase, "Placing vectors", len(numbers))
        assigned = assign_all(index.cells, projections, numbers, self.search.margin, self.pmap, on_rows)
        return _merged(state.assignment, assigned, numbers) if len(numbers) < len(self.distinct) else assigned

    def _compare(self, state: PairState, index: CellIndex, projections: Vectors) -> tuple[NearPairs, int]:
        path, home = self.rows.work.path(_LISTS), state.assignment.home
        lists = write_lists(path, projections, home, len(index.cells.centroids), state.is_new)
        total, compared = count_comparisons(lists, state.assignment, state.is_new), 0

        def on_pairs(pairs: int) -> None:
            nonlocal compared
            compared += pairs
            self.on_phase("Comparing vectors", compared, total)

        work = tiles(lists, state.assignment, state.is_new)
        vectors = self.rows.matrix(self.search.vector)
        return find_near_pairs(work, vectors, self.distinct, self.search.threshold, self.pmap, on_pairs), compared


def _merged(known: CellAssignment, added: CellAssignment, numbers: Indices) -> CellAssignment:
    """The assignment of all vectors: `known`, with those of `added`, which have these numbers."""
    home = known.home.copy()
    home[numbers] = added.home
    visitor = np.concatenate([known.visitor, numbers[added.visitor].astype(np.int32)])
    order = np.argsort(visitor, kind="stable")
    return CellAssignment(home, visitor[order], np.concatenate([known.visited, added.visited])[order])


def _keys(rows: Rows, key: str, distinct: Indices) -> Iterator[pa.Array]:
    rows.work.register("distinct_rows", pa.table({"row": distinct}))
    for batch in rows.work.batches(f"SELECT {key} AS key FROM rows JOIN distinct_rows USING (row) ORDER BY row"):
        yield batch["key"]
