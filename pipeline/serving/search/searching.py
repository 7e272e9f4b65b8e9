"""Searches the dataset that a server keeps open.

In: parsed requests, with the vectors of their texts and images. Out: hits with their columns. The dataset is looked at
every `refresh_s`, and opened again if it changed; a request reads of it only what it asks for beyond the nearest rows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from pipeline.curation.search.exact import Hit, NoSuchRowError, SearchResult
from pipeline.curation.search.groups import NoGroupsError
from pipeline.curation.search.opened.conditions import HowToMatch
from pipeline.curation.search.opened.dataset import OpenDataset, open_dataset
from pipeline.curation.search.queries import direction
from pipeline.curation.search.run import search_vectors
from pipeline.curation.search.sides import SEARCHED, sides_of
from pipeline.curation.vectors import Vectors
from pipeline.dataset.dataset import Dataset
from pipeline.errors import HanclipError, NotFoundError, RunError, UsageError
from pipeline.serving.embedding import Embedded
from pipeline.serving.errors import ApiError, ErrorCode, outages_answered, refused
from pipeline.serving.search.asked import AskedSearch, GivenVector, QueryPart, RowId
from pipeline.serving.search.conditions import RequestConditions
from pipeline.serving.settings import SearchSettings
from pipeline.vocabulary import Side

_LOG = logging.getLogger("hanclip.serve")
T = TypeVar("T")
#: What an answer calls the folder of the dataset.
_OUT = "OUT"


@dataclass(frozen=True, slots=True)
class Found:
    """What a request found.

    Attributes:
        hits: of each search, most similar first, as the answer has them.
        result: how it was searched.
        notes: for the user.
    """

    hits: list[list[dict[str, Any]]]
    result: SearchResult
    notes: list[str]


class Searching:
    """A dataset that is searched.

    Args:
        opened: its state now.
        settings: how it is searched.

    Attributes:
        dataset: the dataset.
    """

    def __init__(self, opened: OpenDataset, settings: SearchSettings) -> None:
        self._opened, self._settings, self.dataset = opened, settings, opened.dataset

    @classmethod
    def of(cls, dataset: Dataset, settings: SearchSettings) -> Searching:
        """Open the dataset.

        Raises:
            UsageError: it is too large to be searched without an index.
            StorageError, RunError: it cannot be read.
        """
        conditions = RequestConditions(settings.condition_memory_mb)
        opened = open_dataset(dataset, HowToMatch(settings.refresh_s, conditions.matching_rows))
        if not any(column.all for column in opened.columns.values()):
            raise UsageError(
                f"The dataset at {dataset.uri} is too large to be searched without an index: run "
                f"`hanclip index {dataset.uri}` first."
            )
        return cls(opened, settings)

    @property
    def state(self) -> OpenDataset:
        """The state of the dataset that is searched; another object once the dataset has changed."""
        return self._opened

    def side_of(self, wanted: Side | None, param: str) -> Side:
        """The side to search. Raises ApiError, which names `param`: the dataset has no vectors of the one wanted."""
        sides = sides_of(self.dataset)
        if wanted is not None and wanted not in sides:
            message = f"The rows of this dataset have no {wanted}. Search {sides[0]}."
            raise refused(ErrorCode.INVALID_REQUEST, message, param)
        return wanted or sides[0]

    @asynccontextmanager
    async def refreshing(self, threads: Executor, *_: Any) -> AsyncIterator[None]:
        """Look at the dataset from time to time, in the block."""
        task = asyncio.create_task(self._refresh(threads))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _refresh(self, threads: Executor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._settings.refresh_s)
            try:
                self._opened = await loop.run_in_executor(threads, self._opened.refreshed)
            except HanclipError as error:
                _LOG.warning("searches go on over the dataset as it was, since it cannot be read now: %s", error)

    def find(self, asked: AskedSearch, embedded: Sequence[Embedded]) -> Found:
        """Search; `embedded` are the vectors of `asked.items`. May be called by several threads.

        Raises:
            ApiError: a query, the condition or an option does not fit the dataset.
            StorageError, RunError: something cannot be read.
        """
        vectors = [one.vector for one in embedded]
        return self.read(lambda opened: self._found(opened, asked, vectors))

    def read(self, work: Callable[[OpenDataset], T]) -> T:
        """The result of `work` on the dataset; once more if files were replaced since the last look.

        Raises:
            ApiError: the store gives no answer.
            StorageError, RunError: something else is wrong with what is read.
        """
        with outages_answered("this dataset"):
            return self._read(work)

    def _read(self, work: Callable[[OpenDataset], T]) -> T:
        opened = self._opened
        try:
            return work(opened)
        except (NotFoundError, RunError):
            now = opened.refreshed()
            if now is opened:
                raise
            self._opened = now
            return work(now)

    def _found(self, opened: OpenDataset, asked: AskedSearch, vectors: Sequence[Vectors]) -> Found:
        vector = SEARCHED[asked.side]
        column = opened.columns[vector]
        if column.all is None and asked.wanted.where is None:
            cure = f"Search the other column; who runs the server can run `hanclip index {_OUT} --in {asked.side}`"
            message = f"The {asked.side} of this dataset have no index and are too many without. {cure}."
            raise refused(ErrorCode.NOT_INDEXED, message, "column")
        queries = _queries(opened, asked, iter(vectors))
        ids = [_ids([*parts, *asked.without]) for parts in asked.searches]
        try:
            result = search_vectors(self.dataset, asked.wanted, queries, vector, ids, column)
        except NoGroupsError as error:
            cure = "Leave one_per_group out; who runs the server can run `hanclip dedup`"
            message = f"This dataset has no table of duplicates that covers every row. {cure}."
            raise refused(ErrorCode.NO_GROUPS, message, "one_per_group") from error
        except UsageError as error:
            raise refused(ErrorCode.WRONG_CONDITION, self._public(str(error)), "where") from error
        return Found(_answers(opened, asked, result), result, [self._public(note) for note in result.notes])

    def _public(self, message: str) -> str:
        """The message without the place of the dataset."""
        return message.replace(self.dataset.uri, _OUT)


def _queries(opened: OpenDataset, asked: AskedSearch, encoded: Any) -> Vectors:
    """The (Q, D) vector of each search; `encoded` gives those of the items in their order."""
    rows = [part for part in asked.parts if isinstance(part, RowId)]
    try:
        stored = iter(opened.rows.vectors_of([row.id for row in rows], SEARCHED[asked.side]) if rows else ())
    except NoSuchRowError as error:
        param = next(row.param for row in rows if row.id == error.id)
        message = f"{param}: there is no row {error.id!r} with {asked.side} here. Check the id."
        raise ApiError(404, ErrorCode.ID_NOT_FOUND, message, param) from error

    def vector_of(part: QueryPart) -> Vectors:
        if isinstance(part, GivenVector):
            return part.vector
        found: Vectors = next(stored if isinstance(part, RowId) else encoded)
        return found

    searches = [[vector_of(part) for part in parts] for parts in asked.searches]
    without = [vector_of(part) for part in asked.without]
    return np.stack([_query(parts, without) for parts in searches])


def _answers(opened: OpenDataset, asked: AskedSearch, result: SearchResult) -> list[list[dict[str, Any]]]:
    ids = sorted({hit.id for hits in result.hits for hit in hits})
    names = sorted(set(asked.columns.values()) - {"text"})
    stored = opened.rows.columns_of(ids, names) if ids and names else {}

    def row(rank: int, hit: Hit) -> dict[str, Any]:
        facts = asdict(hit)
        values = {"text": facts.pop("text"), **stored.get(hit.id, {})}
        if not asked.wanted.one_per_group:
            del facts["group"], facts["group_size"]
        return {"rank": rank, **facts, "columns": {name: values.get(own) for name, own in asked.columns.items()}}

    return [[row(rank, hit) for rank, hit in enumerate(hits, 1)] for hits in result.hits]


def _query(parts: Sequence[Vectors], without: Sequence[Vectors]) -> Vectors:
    if len(parts) == 1 and not without:
        return parts[0]
    found = direction(parts, without)
    if found is None:
        message = "query and not cancel each other out. Leave out one of them."
        raise refused(ErrorCode.INVALID_REQUEST, message, "not")
    return found


def _ids(parts: Sequence[QueryPart]) -> frozenset[str]:
    """The rows that a search is made of, which are no answers."""
    return frozenset(part.id for part in parts if isinstance(part, RowId))
