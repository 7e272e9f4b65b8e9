"""Finds what changed in a dataset since its index was built.

In: a dataset and the metadata of its index. Out: rows that are no longer current, and added rows with their vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from pipeline import storage
from pipeline.curation.current_rows import CurrentRows
from pipeline.curation.search.exact import text_columns
from pipeline.curation.search.index.files import IndexFacts, map_uri
from pipeline.curation.search.sides import index_command
from pipeline.curation.vectors import KEY, Vectors, matrix
from pipeline.dataset.dataset import Dataset
from pipeline.errors import RunError
from pipeline.scratch.workspace import Workspace

#: With more rows than this that are no longer current, or were added since, an exact search is better.
_MOST_STALE, MOST_ADDED = 4096, 200_000


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since an index was built.

    Attributes:
        stale: keys of indexed rows that are no longer current.
        added: current rows that the index lacks, with their (B, D) vectors.
    """

    stale: frozenset[tuple[str, str]]
    added: list[tuple[pa.Table, Vectors]]

    def among(self, ids: pa.Array) -> Changes:
        """The same without the added rows that have other ids."""
        masks = [(pc.is_in(rows["id"], ids), rows, vectors) for rows, vectors in self.added]
        return Changes(self.stale, [(rows.filter(mask), vectors[mask.to_numpy()]) for mask, rows, vectors in masks])


def changes_since(dataset: Dataset, facts: IndexFacts) -> Changes | None:
    """What changed since the index was built; None if that is too much. Raises StorageError, RunError."""
    filesystem, path = storage.arrow_filesystem(map_uri(dataset.uri, facts))
    with Workspace() as work:
        current = CurrentRows(dataset, work)
        try:
            work.register("indexed", pads.dataset(path, filesystem=filesystem))
        except OSError as error:
            cure = f"run `{index_command(dataset, facts.vector)}` again"
            raise RunError(f"The index cannot be read ({error}): {cure}.") from error
        keys = ", ".join(KEY)
        stale = work.rows(f"SELECT {keys} FROM indexed ANTI JOIN rows USING ({keys}) LIMIT {_MOST_STALE + 1}")
        added = f"SELECT place FROM rows ANTI JOIN indexed USING ({keys})"
        [(rows_added,)] = work.rows(f"SELECT count(*) FROM ({added})")
        if len(stale) > min(_MOST_STALE, facts.rows // 2) or rows_added > MOST_ADDED:
            return None
        return Changes(frozenset(stale), list(_with_vectors(current, dataset, facts.vector, added)))


def _with_vectors(current: CurrentRows, dataset: Dataset, vector: str, sql: str) -> Iterator[tuple[pa.Table, Vectors]]:
    columns = [*KEY, *text_columns(dataset)]
    for table in current.read([*columns, vector], sql):
        table = table.filter(table[vector].is_valid())
        yield table.select(columns), matrix(table[vector])
