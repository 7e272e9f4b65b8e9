"""Parses what a search is asked for.

In: the fields of a request. Out: the parts of each search, in order, and which rows are wanted.

    query := text | image | {"id": "..."} | {"vector": [...]}, or a list of them; texts and images as everywhere
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.curation.search.request import WantedRows
from pipeline.curation.vectors import Vectors
from pipeline.serving.errors import ErrorCode, refused
from pipeline.serving.inputs.items import Image, Item, ItemParser, Text, too_many, whole
from pipeline.serving.settings import RequestLimits
from pipeline.sources.texts import is_whole
from pipeline.vocabulary import Side

_FORMS = 'Give a text, {"image": ...}, {"id": ...} or {"vector": [...]}'


@dataclass(frozen=True, slots=True)
class RowId:
    """A row as a query: its stored vector is meant."""

    param: str
    id: str


@dataclass(frozen=True, slots=True)
class GivenVector:
    """A vector as a query, (D,) of norm 1."""

    param: str
    vector: Vectors


QueryPart = Item | RowId | GivenVector


@dataclass(frozen=True, slots=True)
class AskedSearch:
    """A request.

    Attributes:
        searches: the parts of each search; several parts are searched for together.
        without: what rows must not be like.
        is_list: whether the answer is a list of lists.
        side: what is searched.
        wanted: which rows.
        columns: the columns of the answer, by the names that the request has for them.
    """

    searches: Sequence[Sequence[QueryPart]]
    without: Sequence[QueryPart]
    is_list: bool
    side: Side
    wanted: WantedRows
    columns: dict[str, str]

    @property
    def parts(self) -> list[QueryPart]:
        """All queries."""
        return [part for parts in (*self.searches, self.without) for part in parts]

    @property
    def items(self) -> list[Item]:
        """Those that the model encodes."""
        return [part for part in self.parts if isinstance(part, Image | Text)]


class QueryParser:
    """Parses the queries of one request.

    Args:
        limits: of their texts and images.
        dim: length of a vector.
        most: how many there may be.
    """

    def __init__(self, limits: RequestLimits, dim: int, most: int) -> None:
        self._items, self._dim, self._most = ItemParser(limits), dim, most

    def queries(self, value: Any, param: str) -> list[QueryPart]:
        """One query or a list of them. Raises ApiError: there are none, or too many, or one is wrong."""
        if not isinstance(value, list):
            return [self._query(value, param)]
        if not value:
            raise refused(ErrorCode.INVALID_REQUEST, f"{param} is an empty list. {_FORMS}.", param)
        if any(isinstance(one, int | float) for one in value):
            raise refused(ErrorCode.INVALID_REQUEST, f'{param} has plain numbers. Write {{"vector": [...]}}.', param)
        if len(value) > self._most:
            raise too_many(param, len(value), self._most, "queries")
        return [self._query(one, f"{param}[{place}]") for place, one in enumerate(value)]

    def _query(self, value: Any, param: str) -> QueryPart:
        given = {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else {}
        if {"id", "vector"} & set(given):
            if len(given) > 1:
                raise refused(ErrorCode.INVALID_REQUEST, f"{param} has several fields. {_FORMS}, one a query.", param)
            [(kind, content)] = given.items()
            return self._id(content, param) if kind == "id" else self.vector(content, param)
        if not isinstance(value, dict | str):
            raise refused(ErrorCode.INVALID_REQUEST, f"{param} is not a query. {_FORMS}.", param)
        [item] = whole(self._items.items(value, param))
        return item

    def _id(self, value: Any, param: str) -> RowId:
        if not isinstance(value, str) or not value or not is_whole(value):
            raise refused(ErrorCode.INVALID_REQUEST, f"{param}.id is not the id of a row. Give a string.", param)
        return RowId(param, value)

    def vector(self, value: Any, param: str) -> GivenVector:
        """A vector, of any length but 0. Raises ApiError."""
        cure = f"Give {self._dim} finite numbers that are not all 0, as /v1/embeddings does"
        wrong = refused(ErrorCode.DIMENSIONS, f"{param} has no vector of this model. {cure}.", param)
        if not isinstance(value, list) or len(value) != self._dim:
            raise wrong
        if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in value):
            raise wrong
        length = math.hypot(*value) if all(abs(one) < _LARGEST for one in value) else 0
        if length <= _SMALLEST:
            raise wrong
        return GivenVector(param, (np.array(value, np.float64) / length).astype(np.float32))


#: Numbers of a vector, and its norm, beyond which nothing is left of its direction in float32.
_LARGEST, _SMALLEST = 1e30, 1e-30
