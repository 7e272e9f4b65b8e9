"""Builds the ladder: the duplicates on each rung, under the conditions of the settings.

In: gathered rows, the near vectors of those rungs that need some, and the conditions. Out: one `RungPairs` per rung,
strongest first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipeline.curation.dedup.links.conditions import Conditions, under_conditions
from pipeline.curation.dedup.links.pairs import RungPairs, equal_pairs, mirrored_pairs, phash_pairs, vector_pairs
from pipeline.curation.dedup.links.rungs import parts_in
from pipeline.curation.dedup.pairs.incremental import NearVectors, VectorSearch
from pipeline.curation.dedup.rows import Indices, Rows
from pipeline.curation.dedup.settings import DedupSettings, parts_of
from pipeline.scratch.quoting import quoted_name
from pipeline.vocabulary import Rung


def build_ladder(
    rows: Rows,
    rungs: Sequence[str],
    settings: DedupSettings,
    found: Mapping[Rung, tuple[VectorSearch, NearVectors]],
    conditions: Conditions,
) -> list[RungPairs]:
    """The duplicates on `rungs` that meet the `conditions`."""

    def single(rung: Rung) -> RungPairs:
        if rung in found:
            return vector_pairs(rows, rung, *found[rung])
        if rung is Rung.MIRRORED:
            return mirrored_pairs(rows, settings.mirrored_radius)
        return phash_pairs(rows, settings.phash_radius) if rung is Rung.PHASH else equal_pairs(rows, rung)

    singles = {rung: single(rung) for rung in parts_in(rungs)}
    ladder = []
    for name in rungs:
        parts = [singles[part] for part in parts_of(name)]
        plain = len(parts) == 1 and conditions.empty
        ladder.append(parts[0] if plain else under_conditions(name, parts, conditions))
    return ladder


def conditions_of(rows: Rows, settings: DedupSettings, never: pa.Table | None) -> Conditions:
    """The conditions of the settings; `never` has the pairs of ids that are no duplicates."""
    return Conditions.of(rows.count, _agreeing(rows, settings.same), _row_pairs(rows, never))


def _agreeing(rows: Rows, columns: Sequence[str]) -> Indices | None:
    """Equal numbers for rows with equal values in all columns; missing values are equal to each other."""
    if not columns:
        return None
    names = ", ".join(map(quoted_name, columns))
    return rows.numbers(f"SELECT row, min(row) OVER (PARTITION BY {names}) AS value FROM rows")


def _row_pairs(rows: Rows, never: pa.Table | None) -> Indices:
    """(M, 2) the rows of the pairs whose ids both exist."""
    if never is None or not never.num_rows:
        return np.empty((0, 2), np.int64)
    rows.work.register("never", never)
    batches = rows.work.batches(
        "SELECT one.row AS one, another.row AS another FROM never JOIN rows AS one ON never.id = one.id "
        "JOIN rows AS another ON never.other = another.id WHERE one.row <> another.row"
    )
    found = [np.column_stack([batch["one"].to_numpy(), batch["another"].to_numpy()]) for batch in batches]
    return np.concatenate([np.empty((0, 2), np.int64), *found])
