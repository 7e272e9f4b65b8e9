"""Joins searches that wait for one another into one pass over the vectors.

In: a search of some vectors, and calls from several threads. Out: for each call what it would find alone. Where every
vector is compared, it is then read once: eight queries take twice as long as one. An index of lists searches one query
on one core, but several on all. A call that finds the search idle starts at once; those that come while a pass runs
share the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.curation.search.exact import SearchResult, SearchRows
from pipeline.curation.vectors import Vectors

#: Queries of a pass, which bounds its memory and how long the first caller waits for the others.
_QUERIES = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """A call that waits, with one collection of ids to leave out for each of its queries."""

    queries: Vectors
    top: int
    exclude: Sequence[Collection[str]]
    result: Future[SearchResult] = field(default_factory=Future)


class JoinedSearch:
    """A `SearchRows` for any number of threads, which calls `search` in one of them at a time.

    Calls for different numbers of hits are not joined, so that an approximate index looks as far as it would for one.
    What they leave out may differ.
    """

    def __init__(self, search: SearchRows) -> None:
        self._search = search
        self._waiting: list[_Call] = []
        self._adding, self._passing = threading.Lock(), threading.Lock()

    @property
    def waiting(self) -> int:
        """Calls that wait for a pass."""
        return len(self._waiting)

    def __call__(self, queries: Vectors, top: int, exclude: Sequence[Collection[str]] = ()) -> SearchResult:
        """See `SearchRows`. Raises what `search` raises."""
        call = _Call(queries, top, tuple(exclude) or ((),) * len(queries))
        with self._adding:
            self._waiting.append(call)
        with self._passing:
            while not call.result.done():
                self._pass(self._taken())
        return call.result.result()

    def _taken(self) -> list[_Call]:
        """The oldest call that waits and those that can share its pass; they wait no longer."""
        with self._adding:
            first, *others = self._waiting
            taken, room = [first], _QUERIES - len(first.queries)
            kept: list[_Call] = []
            for call in others:
                fits = call.top == first.top and len(call.queries) <= room
                (taken if fits else kept).append(call)
                room -= len(call.queries) if fits else 0
            self._waiting = kept
        return taken

    def _pass(self, calls: Sequence[_Call]) -> None:
        queries = np.concatenate([call.queries for call in calls])
        exclude = [ids for call in calls for ids in call.exclude]
        try:
            found = self._search(queries, calls[0].top, exclude)
        except BaseException as error:  # noqa: BLE001 - each call raises it
            for call in calls:
                call.result.set_exception(error)
            return
        start = 0
        for call in calls:
            stop = start + len(call.queries)
            call.result.set_result(replace(found, hits=found.hits[start:stop]))
            start = stop
