"""`POST /v1/rerank`: texts and images in the order of their cosine with a query, as Cohere's API has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from pipeline.serving.errors import ErrorCode, refused
from pipeline.serving.inputs.items import Image, ItemParser, ParsedItem
from pipeline.serving.pairs import ItemPairs, cosines, new_id
from pipeline.serving.routes.schemas import AnyItems, OneItem, Usage, exchange
from pipeline.serving.server import ModelBody, Server, usage


class RerankBody(ModelBody):
    """Documents to rank for a query."""

    ignored: ClassVar[frozenset[str]] = frozenset({"user", "priority", "max_tokens_per_doc", "max_chunks_per_doc"})

    query: OneItem = Field(description="A text or an image.")
    documents: AnyItems = Field(description="Texts and images.")
    top_n: int | None = Field(default=None, ge=1, description="How many of the best; all if not given.")
    return_documents: bool = Field(default=False, description="Repeat texts, and URLs of images, in the answer.")


class RankedDocument(BaseModel):
    """A document with its cosine."""

    index: int
    relevance_score: float
    document: dict[str, Any] | None = None


class Ranking(BaseModel):
    """The documents, best first."""

    id: str
    model: str
    results: list[RankedDocument]
    usage: Usage


@dataclass(frozen=True, slots=True)
class _Asked:
    pairs: ItemPairs
    top: int
    repeats: bool

    @property
    def items(self) -> Sequence[ParsedItem]:
        return self.pairs.items


def router(server: Server) -> APIRouter:
    """The route, and the paths that other servers have for it."""
    routes = APIRouter(tags=["comparisons"])

    def parse(body: RerankBody) -> _Asked:
        parser = ItemParser(server.desk.limits)
        query, documents = parser.items(body.query, "query"), parser.items(body.documents, "documents")
        if len(query) != 1:
            raise refused(ErrorCode.INVALID_REQUEST, "query has several items. Give one text or image.", "query")
        return _Asked(ItemPairs(query, documents), body.top_n or len(documents), body.return_documents)

    async def work(asked: _Asked) -> dict[str, Any]:
        found, embedded = await cosines(server.embedding, asked.pairs)
        results: list[dict[str, Any]] = []
        for place in np.argsort(-np.array(found), kind="stable")[: asked.top].tolist():
            document = {"document": _repeated(asked.pairs.right[place])} if asked.repeats else {}
            results.append({"index": place, "relevance_score": found[place], **document})
        return {"id": new_id("rerank"), "model": server.card.id, "results": results, "usage": usage(embedded)}

    @routes.post("/rerank", include_in_schema=False)
    @routes.post("/v2/rerank", include_in_schema=False)
    @routes.post("/v1/rerank", **exchange(RerankBody, Ranking))
    async def rerank(request: Request) -> Response:
        """Rank texts and images for a text or an image."""
        return await server.answer(request, RerankBody, parse, work)

    return routes


def _repeated(item: ParsedItem) -> dict[str, Any] | None:
    """A document for the answer; the bytes of an image are not sent back."""
    if isinstance(item, Image):
        return {"image": item.url} if item.url else None
    return {"text": item.text} if not isinstance(item, Exception) else None
