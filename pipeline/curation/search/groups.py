"""Leaves one row of each group of duplicates among the hits of a search.

In: a dataset with a current table of duplicates, and a search that can be repeated for more hits. Out: for each query
the nearest row of each of its `top` nearest groups. A crowd of duplicates may fill any number of hits, so the search is
repeated for more of them until enough groups are found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline import storage
from pipeline.curation.current_rows import CurrentRows
from pipeline.curation.search.exact import Hit, SearchResult
from pipeline.curation.vectors import KEY
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.errors import RunError, UsageError
from pipeline.scratch.workspace import Workspace

_KEYS = ", ".join(KEY)
#: How many times as many hits as groups are looked at first, and how many more each time that they do not suffice.
_FIRST, _MORE = 4, 8
#: The group of each hit, and how many rows of it the dataset still has.
_GROUPS = f"""
WITH found AS MATERIALIZED (SELECT {_KEYS}, "group" FROM duplicates SEMI JOIN hits USING ({_KEYS})),
sizes AS (
    SELECT "group", count(*) AS size FROM duplicates SEMI JOIN found USING ("group") SEMI JOIN rows USING ({_KEYS})
    GROUP BY ALL
)
SELECT {_KEYS}, "group", size FROM found LEFT JOIN sizes USING ("group")
"""


class NoGroupsError(UsageError):
    """There is no table of duplicates that covers every row."""


class DuplicateGroups:
    """The groups of a dataset, usable in the block of `duplicate_groups`."""

    def __init__(self, work: Workspace) -> None:
        self._work = work

    def best(self, search: Callable[[int], SearchResult], top: int) -> SearchResult:
        """The hits of the `top` nearest groups of each query; `search` finds so many nearest rows."""
        wanted = _FIRST * top
        while True:
            found = search(wanted)
            hits = [self._firsts(some) for some in found.hits]
            if all(len(firsts) >= top or len(some) < wanted for firsts, some in zip(hits, found.hits, strict=True)):
                return replace(found, hits=[firsts[:top] for firsts in hits])
            wanted *= _MORE

    def _firsts(self, hits: list[Hit]) -> list[Hit]:
        """The first hit of each group, with its group."""
        keys = [(hit.id, hit.source_fingerprint) for hit in hits]
        schema = pa.schema([(name, pa.string()) for name in KEY])
        self._work.register("hits", pa.Table.from_pylist([dict(zip(KEY, key, strict=True)) for key in keys], schema))
        rows = self._work.rows(_GROUPS)
        groups = {(id_, state): (group, size) for id_, state, group, size in rows}
        seen, firsts = set[str](), list[Hit]()
        for hit, key in zip(hits, keys, strict=True):
            group, size = groups.get(key, (None, 1))
            if group not in seen:
                firsts.append(replace(hit, group=group, group_size=int(size or 1)))
            seen |= {group} - {None}
        return firsts


@contextmanager
def duplicate_groups(dataset: Dataset) -> Iterator[DuplicateGroups]:
    """Open the groups of `dataset`. Raises NoGroupsError if there is no table of duplicates, or if it is stale."""
    uri, cure = layout.dedup_uri(dataset.uri), f"run `hanclip dedup {dataset.uri}` first, or leave out --one-per-group"
    if not storage.exists(uri):
        raise NoGroupsError(f"The dataset at {dataset.uri} has no table of duplicates: {cure}.")
    filesystem, path = storage.arrow_filesystem(uri)
    with Workspace() as work:
        current = CurrentRows(dataset, work)
        try:
            work.register("duplicates", pads.dataset(path, filesystem=filesystem, format="parquet"))
        except (pa.ArrowException, OSError) as error:
            raise RunError(f"{uri} cannot be read ({error}): {cure}.") from error
        [(lost,)] = work.rows(f"SELECT count(*) FROM rows ANTI JOIN duplicates USING ({_KEYS})")
        if lost:
            raise NoGroupsError(
                f"The table of duplicates is stale and lacks {lost:,} of the {current.count:,} rows: {cure}."
            )
        yield DuplicateGroups(work)
