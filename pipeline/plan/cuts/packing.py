"""Packs what is left of many cuts into full shards.

In: the remaining records of one cut after another, in plan order. Out: tables, each of them one shard. Order is kept,
so a shard reads one container after another.

A container that is read from its beginning is packed alone: a decoder would have to read through all those of its shard
one after another, while others have nothing to do. Tables of text of up to 8,192 rows are read fast enough to share.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.plan.cuts.runs import runs
from pipeline.plan.cutting import MAX_ROWS, Bounds
from pipeline.plan.listing import Listing
from pipeline.sources import SourceSpec, holds_shards, is_sequential


class Packing:
    """How the cuts of a listing of `source`, made for `cut_rows`, become shards of about `target_rows`."""

    def __init__(self, listing: Listing, source: SourceSpec, cut_rows: int, target_rows: int) -> None:
        self.target_rows = target_rows
        self._listing, self._source = listing, source
        self._fits, self._bounds = cut_rows == target_rows, Bounds.around(target_rows)

    def keeps(self, rows: pa.Table) -> bool:
        """Whether a cut of which no record is done is a shard: a tar, or of the right size. A retry's cut never is."""
        if rows["attempts"][0].as_py():
            return False
        if holds_shards(self._source) and rows["container"][0].is_valid:
            return True
        return self._fits and self._bounds.min_rows <= int(rows.num_rows) <= self._bounds.max_rows

    def is_alone(self, container: str) -> bool:
        """Whether its records share no shard with others."""
        if not is_sequential(self._source, container):
            return False
        return holds_shards(self._source) or self._rows[container] > MAX_ROWS

    @cached_property
    def _rows(self) -> dict[str, int]:
        return self._listing.rows_by_container()


class _Pile:
    """Records that wait until they fill a shard. What is left over at the end joins the last shard if it fits."""

    def __init__(self, target_rows: int) -> None:
        self._target, self._most = target_rows, min(MAX_ROWS, target_rows * 3 // 2)
        self._tables: list[pa.Table] = []
        self._rows = 0

    def add(self, rows: pa.Table) -> Iterator[pa.Table]:
        self._tables.append(rows)
        self._rows += rows.num_rows
        while self._rows > self._most:
            [whole] = self.rest()
            yield whole.slice(0, self._target)
            self._tables, self._rows = [whole.slice(self._target)], whole.num_rows - self._target

    def rest(self) -> Iterator[pa.Table]:
        if self._tables:
            whole = pa.concat_tables(self._tables)
            self._tables, self._rows = [], 0
            yield whole


class Packer:
    """Packs the rows of `listing.LISTED` that it is given. At most two shards wait, so memory is bounded."""

    def __init__(self, packing: Packing) -> None:
        self._packing = packing
        self._shared, self._alone = _Pile(packing.target_rows), _Pile(MAX_ROWS)
        self._container: str | None = None
        self._attempts = 0

    def add(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Add what is left of a cut, whose records have equal `attempts`; returns the shards that are full."""
        attempts = rows["attempts"][0].as_py()
        if attempts != self._attempts:
            yield from self.rest()
        self._attempts = attempts
        alone = [name for name in pc.unique(rows["container"]).to_pylist() if name and self._packing.is_alone(name)]
        if not alone:
            yield from self._shared.add(rows)
            return
        for piece in runs(rows.combine_chunks().to_batches(), "container"):
            container = piece["container"][0].as_py()
            if container not in alone:
                yield from self._shared.add(piece)
                continue
            if container != self._container:
                yield from self._alone.rest()
            self._container = container
            yield from self._alone.add(piece)

    def rest(self) -> Iterator[pa.Table]:
        """What is left in the end."""
        yield from self._alone.rest()
        yield from self._shared.rest()
