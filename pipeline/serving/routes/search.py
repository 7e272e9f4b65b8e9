"""`POST /v1/search`, and `GET /v1/search?q=...`: the rows of a dataset that are nearest to queries."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from pipeline.curation.search.request import SearchRequest, WantedRows
from pipeline.serving.border.bodies import FIRST_ERROR, shaped
from pipeline.serving.errors import ErrorCode, refused, too_large
from pipeline.serving.routes import clip_back
from pipeline.serving.routes.schemas import Usage, answers, exchange, items_or
from pipeline.serving.search.asked import AskedSearch, QueryParser
from pipeline.serving.search.scope import answer_columns
from pipeline.serving.search.searching import Searching
from pipeline.serving.server import ModelBody, Server, parameters, usage
from pipeline.serving.settings import SearchSettings
from pipeline.sources.texts import is_whole
from pipeline.vocabulary import Side

_ROW = {"title": "Row", "type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_VECTOR = {"title": "Vector", "type": "object", "required": ["vector"], "properties": {"vector": _NUMBERS}}
QueryItems = Annotated[Any, items_or(_ROW, _VECTOR)]
#: Parsing a list of 200,000 values takes 800 MB, which no time limit ends.
_MOST_CONDITION_CHARACTERS = 20_000
#: A column by its short name.
_SHORT = {"uri": "image_uri"}
_PARAMETERS = [
    {"name": "q", "in": "query", "required": True, "schema": {"type": "string"}},
    *(
        {"name": name, "in": "query", "schema": {"type": kind}}
        for name, kind in (
            ("column", "string"),
            ("top", "integer"),
            ("min_similarity", "number"),
            ("where", "string"),
            ("one_per_group", "boolean"),
            ("with", "string"),
        )
    ),
]


def _as_in_search(name: str) -> Any:
    """The field of this name of `hanclip search`, with its default, limits and help."""
    return WantedRows.model_fields[name]


class SearchBody(ModelBody):
    """QueryItems, and which of their nearest rows are wanted."""

    query: QueryItems = Field(description="A query or a list; plain strings are texts. No row is an answer to itself.")
    not_: QueryItems = Field(default=None, alias="not", description=SearchRequest.model_fields["without"].description)
    combine: bool = Field(default=False, description=SearchRequest.model_fields["combine"].description)
    column: Side | None = Field(default=None, description="Which vectors to search; images if there are any.")
    top: int = _as_in_search("top")
    min_similarity: float | None = _as_in_search("min_similarity")
    where: str | None = _as_in_search("where")
    one_per_group: bool = _as_in_search("one_per_group")
    with_: str | Annotated[list[str], FIRST_ERROR] | None = Field(
        default=None, alias="with", description="Columns of the answer, in a list or joined by commas; else text."
    )


class SearchParameters(SearchBody):
    """The same in a URL, where everything is text."""

    model_config = ConfigDict(strict=False)


class FoundRow(BaseModel):
    """A row, with its group of duplicates if one_per_group was asked for."""

    rank: int
    id: str
    source_fingerprint: str
    similarity: float = Field(description="Cosine, to six decimals.")
    columns: dict[str, Any] = Field(description="The columns that were asked for, as JSON has values.")
    group: str | None = None
    group_size: int | None = None


class FoundRows(BaseModel):
    """The rows of a query, most similar first; of a list of queries, a list for each."""

    object: str = "list"
    model: str
    column: str
    rows: int = Field(description="Rows that were searched.")
    by_index: int = Field(description="How many of them by an index; the others were compared one by one.")
    notes: list[str]
    data: list[FoundRow] | list[list[FoundRow]]
    usage: Usage


def router(searching: Searching, settings: SearchSettings, server: Server) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["search"], lifespan=partial(searching.refreshing, server.threads.searching))
    parse = _Parser(searching, settings, server).parse

    async def work(asked: AskedSearch) -> dict[str, Any]:
        embedded = await server.embedding.vectors(asked.items)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(server.threads.searching, searching.find, asked, embedded)
        return {
            "object": "list",
            "model": server.card.id,
            "column": asked.side,
            "rows": found.result.rows,
            "by_index": found.result.by_index,
            "notes": found.notes,
            "data": found.hits if asked.is_list else found.hits[0],
            "usage": usage(embedded),
        }

    @routes.post("/v1/search", **exchange(SearchBody, FoundRows))
    async def search(request: Request) -> Response:
        """Find the rows of the dataset that are nearest to texts, images, rows or vectors."""
        if request.query_params:
            message = "POST takes no parameters in its URL. Write them into the body, or send a GET."
            raise refused(ErrorCode.INVALID_REQUEST, message, next(iter(request.query_params)))
        return await server.answer(request, SearchBody, parse, work)

    @routes.get("/v1/search", **answers(FoundRows), openapi_extra={"parameters": _PARAMETERS})
    async def search_text(request: Request) -> Response:
        """The same for a text, with the fields of the body as parameters."""
        return await server.answer_body(request, shaped(SearchParameters, _tree(parameters(request))), parse, work)

    if settings.clip_back:
        routes.routes.extend(clip_back.router(searching, settings, server).routes)
    return routes


def _tree(given: dict[str, str]) -> dict[str, str]:
    """The parameters of a URL as a body."""
    if "query" in given or "q" not in given:
        raise refused(ErrorCode.INVALID_REQUEST, "q is missing. Write /v1/search?q= and a text.", "q")
    return {"query": given["q"], **{name: value for name, value in given.items() if name != "q"}}


class _Parser:
    """Parses bodies for one dataset."""

    def __init__(self, searching: Searching, settings: SearchSettings, server: Server) -> None:
        self._searching, self._settings = searching, settings
        self._card, self._limits = server.card, server.desk.limits
        self._columns = answer_columns(searching.dataset)

    def parse(self, body: SearchBody) -> AskedSearch:
        """Parse a body. Raises ApiError."""
        parser = QueryParser(self._limits, self._card.dim, self._settings.max_queries)
        queries = parser.queries(body.query, "query")
        without = [] if body.not_ is None else parser.queries(body.not_, "not")
        searches = [queries] if body.combine else [[query] for query in queries]
        self._bound(len(searches), body.top)
        return AskedSearch(
            searches=searches,
            without=without,
            is_list=isinstance(body.query, list) and not body.combine,
            side=self._searching.side_of(body.column, "column"),
            wanted=self._wanted(body),
            columns=self._named(body.with_),
        )

    def _bound(self, searches: int, top: int) -> None:
        """Raise ApiError if the answer could have too many rows."""
        if (rows := searches * top) > (most := self._settings.max_rows):
            message = f"top is {top:,} for each of {searches:,} queries: {rows:,} rows, more than {most:,} together."
            cure = "Lower top, or send fewer queries at once."
            raise refused(ErrorCode.TOO_MANY_ROWS, f"{message} {cure}", "top")

    def _wanted(self, body: SearchBody) -> WantedRows:
        fields = {name: getattr(body, name) for name in ("top", "min_similarity", "one_per_group")}
        if body.where is not None:
            if not body.where.strip() or "\0" in body.where or not is_whole(body.where):
                message = "where is empty, or holds signs that no condition has. Correct it, or leave it out."
                raise refused(ErrorCode.WRONG_CONDITION, message, "where")
            if len(body.where) > _MOST_CONDITION_CHARACTERS:
                raise too_large("where", "the condition", _MOST_CONDITION_CHARACTERS, "characters")
            fields |= {"where": body.where, "time_limit_s": self._settings.time_limit_s}
        return WantedRows(**fields)

    def _named(self, given: str | list[str] | None) -> dict[str, str]:
        """The columns of the answer by the names that the request has for them."""
        if given is None:
            return {"text": "text"} if "text" in self._columns else {}
        names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
        columns = {name: _SHORT.get(name, name) for name in names if name}
        for name, column in columns.items():
            if column not in self._columns:
                message = f"There is no column {name!r} for answers here. There are {', '.join(self._columns)}."
                raise refused(ErrorCode.UNKNOWN_COLUMN, message, "with")
        return columns
