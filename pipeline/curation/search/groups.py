"""Leaves one row of each group of duplicates among the hits of a search.

In: a dataset with a current table of duplicates, and a search that can be repeated for more hits. Out: for each query
the nearest row of each of its `top` nearest groups. A crowd of duplicates may fill any number of hits, so the search is
repeated for more of them until enough groups are found. Before the hits are too many for memory, it goes on among the
rows that are in none of the groups found so far.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Protocol

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline import storage, units
from pipeline.curation.current_rows import CurrentRows
from pipeline.curation.search.exact import Hit, SearchResult
from pipeline.curation.vectors import KEY
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.errors import RunError, UsageError
from pipeline.scratch.quoting import quoted
from pipeline.scratch.workspace import Workspace

_KEYS = ", ".join(KEY)
#: How many times as many hits as groups are looked at first, and how many more each time that they do not suffice.
_FIRST, _MORE = 4, 8
#: With more hits than this, the rows of the groups that were found are left out instead.
_MOST = 4096
#: The group of each hit, and how many rows of it the dataset still has.
_GROUPS = f"""
WITH found AS MATERIALIZED (SELECT {_KEYS}, "group" FROM duplicates SEMI JOIN hits USING ({_KEYS})),
sizes AS (
    SELECT "group", count(*) AS size FROM duplicates SEMI JOIN found USING ("group") SEMI JOIN rows USING ({_KEYS})
    GROUP BY ALL
)
SELECT {_KEYS}, "group", size FROM found LEFT JOIN sizes USING ("group")
"""


#: The rows that are not yet found, nor in a group of one that is.
_OTHERS = f"""
SELECT {_KEYS} FROM {{rows}} ANTI JOIN (
    SELECT {_KEYS} FROM passed UNION ALL SELECT {_KEYS} FROM duplicates SEMI JOIN passed USING ("group")
) USING ({_KEYS})
"""


class RepeatedSearch(Protocol):
    """A search that can be asked for more hits."""

    @property
    def matching(self) -> str | None:
        """Local Parquet file with the keys of the rows that may be found; None for all."""

    def nearest(self, top: int) -> SearchResult:
        """The `top` nearest rows of each query."""

    def among(self, query: int, keys: str, top: int) -> list[Hit]:
        """The `top` nearest rows of the query of this number, among those with keys in a local Parquet file."""


class NoGroupsError(UsageError):
    """There is no table of duplicates that covers every row."""


class DuplicateGroups:
    """The groups of a dataset, usable while `work` is open.

    Args:
        work: has the table `duplicates` and the `rows` of the dataset.
        found: a query for the groups of the rows in the table `hits`, with the key, the group and its size.
        turn: is held while `work` is used, if other threads use it. Searches go on beside one another.
    """

    def __init__(
        self, work: Workspace, found: str = _GROUPS, turn: AbstractContextManager[object] | None = None
    ) -> None:
        self._work, self._found, self._turn = work, found, turn or nullcontext()

    def best(self, search: RepeatedSearch, top: int) -> SearchResult:
        """The hits of the `top` nearest groups of each query."""
        wanted = _FIRST * top
        most = max(_MOST, wanted)
        while True:
            found = search.nearest(wanted)
            hits = [self.firsts(some) for some in found.hits]
            short = [
                n
                for n, some in enumerate(found.hits)
                if len(hits[n]) < top and len(some) == wanted  # else there are no others
            ]
            if not short or wanted == most:
                break
            wanted = min(most, _MORE * wanted)
        for query in short:
            with self._turn:  # its file of keys is read by the search
                self._go_on(search, query, hits[query], top, most)
        return replace(found, hits=[firsts[:top] for firsts in hits])

    def _go_on(self, search: RepeatedSearch, query: int, firsts: list[Hit], top: int, most: int) -> None:
        """Add to `firsts` until there are `top`, or no more groups."""
        keys = self._work.path("others.parquet")
        rows = f"read_parquet({quoted(search.matching)})" if search.matching else "rows"
        found = most
        while len(firsts) < top and found == most:
            self._work.register("passed", _table(firsts))
            self._work.copy(_OTHERS.format(rows=rows), keys)
            hits = search.among(query, keys, most)
            firsts += self.firsts(hits)
            found = len(hits)

    def firsts(self, hits: list[Hit]) -> list[Hit]:
        """The first hit of each group, with its group."""
        with self._turn:
            self._work.register("hits", _table(hits))
            rows = self._work.rows(self._found)
        groups = {(id_, state): (group, size) for id_, state, group, size in rows}
        seen, firsts = set[str](), list[Hit]()
        for hit in hits:
            group, size = groups.get((hit.id, hit.source_fingerprint), (None, 1))
            if group not in seen:
                firsts.append(replace(hit, group=group, group_size=int(size or 1)))
            seen |= {group} - {None}
        return firsts


def _table(hits: list[Hit]) -> pa.Table:
    """The keys and the groups of hits."""
    columns = ([hit.id for hit in hits], [hit.source_fingerprint for hit in hits], [hit.group for hit in hits])
    return pa.table([pa.array(values, pa.string()) for values in columns], names=[*KEY, "group"])


@contextmanager
def duplicate_groups(dataset: Dataset) -> Iterator[DuplicateGroups]:
    """Open the groups of `dataset`. Raises NoGroupsError if there is no table of duplicates, or if it is stale."""
    with Workspace() as work:
        require_duplicates(dataset, work, CurrentRows(dataset, work))
        yield DuplicateGroups(work)


def require_duplicates(dataset: Dataset, work: Workspace, current: CurrentRows) -> None:
    """Make the table `duplicates` in `work`, which has the `current` rows of `dataset`.

    Raises:
        NoGroupsError: there is no table of duplicates, or it lacks some of the rows.
        RunError: it cannot be read.
    """
    uri, cure = layout.dedup_uri(dataset.uri), f"run `hanclip dedup {dataset.uri}` first, or leave out --one-per-group"
    if not storage.exists(uri):
        raise NoGroupsError(f"The dataset at {dataset.uri} has no table of duplicates: {cure}.")
    filesystem, path = storage.arrow_filesystem(uri)
    try:
        work.register("duplicates", pads.dataset(path, filesystem=filesystem, format="parquet"))
    except (pa.ArrowException, OSError) as error:
        raise RunError(f"{uri} cannot be read ({error}): {cure}.") from error
    [(lost,)] = work.rows(f"SELECT count(*) FROM rows ANTI JOIN duplicates USING ({_KEYS})")
    if lost:
        raise NoGroupsError(
            f"The table of duplicates is stale and lacks {lost:,} of the {units.count(current.count, 'row')}: {cure}."
        )
