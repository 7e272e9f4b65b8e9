"""`POST /v1/embeddings`: OpenAI's, with images among the inputs; and the chat form with one part, as vLLM's."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from pipeline.curation.vectors import Vectors
from pipeline.serving.embedding import Embedded, all_embedded
from pipeline.serving.errors import ApiError, ErrorCode, refused
from pipeline.serving.inputs.items import ItemParser, Modality, ParsedItem
from pipeline.serving.routes.schemas import AnyItems, Usage, exchange
from pipeline.serving.server import ModelBody, Server, usage

Encoding = Literal["float", "base64"]


class EmbeddingsBody(ModelBody):
    """Images and texts to embed."""

    ignored: ClassVar[frozenset[str]] = frozenset({"user", "input_type", "task", "truncate", "priority"})

    input: AnyItems = Field(default=None, description="An item or a list; plain strings are texts, see modality.")
    messages: list[Any] | None = Field(default=None, description="In place of input: one message with one part.")
    modality: Modality | None = Field(default=None, description="What plain strings are; text if not given.")
    encoding_format: Encoding | None = Field(default=None, description="float, or base64 of little-endian float32.")
    embedding_type: Encoding | None = Field(default=None, description="Another name of encoding_format.")
    dimensions: int | None = Field(default=None, description="The model's own number alone.")
    normalized: Literal[True] | None = Field(default=None, description="Vectors always have norm 1.")
    on_error: Literal["null"] | None = Field(
        default=None,
        description='"null": an item that cannot be embedded gets null and its error; others are embedded.',
    )


class EmbeddingObject(BaseModel):
    """A vector."""

    object: str = "embedding"
    index: int
    embedding: list[float] | str | None
    error: dict[str, Any] | None = None


class EmbeddingList(BaseModel):
    """A vector for each item, in their order."""

    object: str = "list"
    model: str
    data: list[EmbeddingObject]
    usage: Usage


@dataclass(frozen=True, slots=True)
class _Asked:
    items: Sequence[ParsedItem]
    encoding: Encoding
    lenient: bool


def router(server: Server) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["embeddings"])

    def parse(body: EmbeddingsBody) -> _Asked:
        if body.dimensions not in (None, server.card.dim):
            message = f"The vectors of this model have {server.card.dim} dimensions. Leave dimensions out."
            raise refused(ErrorCode.DIMENSIONS, message, "dimensions")
        lenient = body.on_error == "null"
        parser = ItemParser(server.desk.limits, lenient)
        encoding = body.encoding_format or body.embedding_type or "float"
        if body.messages is not None:
            return _Asked(
                parser.items(_only_part(body), "messages[0].content", body.modality or "text"), encoding, lenient
            )
        if body.input is None:
            raise refused(
                ErrorCode.INVALID_REQUEST, "input is missing. Give a text, an image, or a list of them.", "input"
            )
        return _Asked(parser.items(body.input, "input", body.modality or "text"), encoding, lenient)

    async def work(asked: _Asked) -> dict[str, Any]:
        results = await server.embedding.embed(asked.items)
        embedded = [one for one in results if isinstance(one, Embedded)] if asked.lenient else all_embedded(results)
        data = [_object(index, one, asked.encoding) for index, one in enumerate(results)]
        return {"object": "list", "model": server.card.id, "data": data, "usage": usage(embedded)}

    @routes.post("/v1/embeddings", **exchange(EmbeddingsBody, EmbeddingList))
    async def embeddings(request: Request) -> Response:
        """Embed images and texts into one space; vectors have norm 1."""
        return await server.answer(request, EmbeddingsBody, parse, work)

    return routes


def _only_part(body: EmbeddingsBody) -> Any:
    """The part of a chat: CLIP has no vector for a text and an image together."""
    messages: list[Any] = body.messages or []
    if body.input is not None:
        raise refused(ErrorCode.INVALID_REQUEST, "The request has input and messages. Give one of them.", "messages")
    content = messages[0].get("content") if len(messages) == 1 and isinstance(messages[0], dict) else None
    parts = content if isinstance(content, list) else [content]
    if len(parts) != 1 or parts[0] is None:
        message = "messages needs one message with one part: this model has no vector for several together. Use input."
        raise refused(ErrorCode.INVALID_REQUEST, message, "messages")
    return parts[0]


def _object(index: int, result: Embedded | ApiError, encoding: Encoding) -> dict[str, Any]:
    if isinstance(result, ApiError):
        return {"object": "embedding", "index": index, "embedding": None, **result.body()}
    return {"object": "embedding", "index": index, "embedding": _written(result.vector, encoding)}


def _written(vector: Vectors, encoding: Encoding) -> list[float] | str:
    """The vector as numbers whose digits give back the same float32, or as its bytes."""
    if encoding == "base64":
        return base64.b64encode(vector.astype(np.dtype("<f4"), copy=False).tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers
