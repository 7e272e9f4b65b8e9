"""Says where ids can be, by the smallest and the largest id of a file or of a row group.

In: sorted ids, and bounds. Out: what may hold one of them. A run writes its rows in the order of their ids, so a few
ids are in a few row groups, and the others need not be read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import pyarrow.parquet as pq


def has_between(ids: Sequence[str], first: str | None, last: str | None) -> bool:
    """Whether one of the sorted ids is in a range; an empty file has none."""
    if first is None or last is None:
        return False
    at = bisect_left(ids, first)
    return at < len(ids) and ids[at] <= last


def groups_around(metadata: pq.FileMetaData, ids: Sequence[str]) -> list[int]:
    """Numbers of the row groups that may hold one of the sorted ids; those without statistics may."""
    return list(_around(metadata, ids))


def _around(metadata: pq.FileMetaData, ids: Sequence[str]) -> Iterator[int]:
    paths = [metadata.schema.column(number).path for number in range(len(metadata.schema))]
    column = paths.index("id")
    for group in range(metadata.num_row_groups):
        found = metadata.row_group(group).column(column).statistics
        if found is None or not found.has_min_max or has_between(ids, found.min, found.max):
            yield group
