"""`POST /v1/score`: cosines of pairs, as vLLM writes them."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from pipeline.serving.errors import ErrorCode, refused
from pipeline.serving.inputs.items import ItemParser
from pipeline.serving.pairs import ItemPairs, cosines, new_id
from pipeline.serving.routes.schemas import AnyItems, Usage, exchange
from pipeline.serving.server import ModelBody, Server, usage

_LEFT, _RIGHT = ("queries", "text_1", "data_1"), ("documents", "items", "text_2", "data_2")


class ScoreBody(ModelBody):
    """Pairs to score: one with each of N, or N with N."""

    ignored: ClassVar[frozenset[str]] = frozenset({"user", "truncate_prompt_tokens", "priority"})

    queries: AnyItems = Field(default=None, description="One item, or N; also called text_1 or data_1.")
    text_1: AnyItems = None
    data_1: AnyItems = None
    documents: AnyItems = Field(default=None, description="N items; also called items, text_2 or data_2.")
    items: AnyItems = None
    text_2: AnyItems = None
    data_2: AnyItems = None


class Score(BaseModel):
    """The cosine of a pair."""

    index: int
    object: str = "score"
    score: float


class PairScores(BaseModel):
    """A score for each pair, in their order."""

    id: str
    object: str = "list"
    created: int
    model: str
    data: list[Score]
    usage: Usage


def router(server: Server) -> APIRouter:
    """The route, and the path that other servers have for it."""
    routes = APIRouter(tags=["comparisons"])

    def parse(body: ScoreBody) -> ItemPairs:
        parser = ItemParser(server.desk.limits)
        left, right = (parser.items(*_side(body, names)) for names in (_LEFT, _RIGHT))
        if len(left) not in (1, len(right)):
            message = f"{len(left)} queries and {len(right)} documents make no pairs. Give one query, or as many."
            raise refused(ErrorCode.INVALID_REQUEST, message, "queries")
        return ItemPairs(left, right)

    async def work(asked: ItemPairs) -> dict[str, Any]:
        found, embedded = await cosines(server.embedding, asked)
        data = [{"index": i, "object": "score", "score": cosine} for i, cosine in enumerate(found)]
        head = {"id": new_id("score"), "object": "list", "created": int(time.time()), "model": server.card.id}
        return {**head, "data": data, "usage": usage(embedded)}

    @routes.post("/score", include_in_schema=False)
    @routes.post("/v1/score", **exchange(ScoreBody, PairScores))
    async def score(request: Request) -> Response:
        """The cosine of each pair."""
        return await server.answer(request, ScoreBody, parse, work)

    return routes


def _side(body: ScoreBody, names: tuple[str, ...]) -> tuple[Any, str]:
    """The items of one side as `ItemParser` takes them, with the name of their field."""
    given = [name for name in names if getattr(body, name) is not None]
    if len(given) != 1:
        raise refused(ErrorCode.INVALID_REQUEST, f"The request needs exactly one of {', '.join(names)}.", names[0])
    value = getattr(body, given[0])
    if isinstance(value, dict) and "content" in value:  # vLLM's form for parts
        return value["content"], f"{given[0]}.content"
    return value, given[0]
