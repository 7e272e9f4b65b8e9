"""`POST /v1/similarity`: cosines, logits and probabilities of texts for images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from pipeline.curation.similarity.probabilities import softmax
from pipeline.serving.embedding import matrix
from pipeline.serving.inputs.items import Image, ItemParser, ParsedItem, Text
from pipeline.serving.routes.schemas import ImageItems, TextItems, Usage, exchange
from pipeline.serving.server import ModelBody, Server, usage


class SimilarityBody(ModelBody):
    """Images and texts to compare."""

    images: ImageItems = Field(description="An image or a list; plain strings are URLs, data URIs or base64.")
    texts: TextItems = Field(description="A text or a list.")
    encoding_format: Literal["float"] | None = Field(default=None, description="Scores are numbers.")


class ImageScores(BaseModel):
    """One image with every text, in the order of the texts."""

    index: int
    cosine: list[float]
    logit: list[float] = Field(description="Cosine times logit_scale.")
    probability: list[float] | None = Field(description="Softmax over the texts; null for a single text.")


class Similarities(BaseModel):
    """An element for each image."""

    object: str = "similarity"
    model: str
    logit_scale: float
    data: list[ImageScores]
    usage: Usage


@dataclass(frozen=True, slots=True)
class _Asked:
    images: Sequence[Image]
    texts: Sequence[Text]

    @property
    def items(self) -> Sequence[ParsedItem]:
        return [*self.images, *self.texts]


def router(server: Server) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["comparisons"])

    def parse(body: SimilarityBody) -> _Asked:
        parser = ItemParser(server.desk.limits)
        return _Asked(parser.images(body.images, "images"), parser.texts(body.texts, "texts"))

    async def work(asked: _Asked) -> dict[str, Any]:
        embedded = await server.embedding.vectors(asked.items)
        count = len(asked.images)
        cosines = (matrix(embedded[:count]) @ matrix(embedded[count:]).T).astype(np.float64)
        logits = cosines * server.card.logit_scale
        shares = softmax(logits) if len(asked.texts) > 1 else None
        return {
            "object": "similarity",
            "model": server.card.id,
            "logit_scale": server.card.logit_scale,
            "data": [
                {
                    "index": index,
                    "cosine": cosines[index].tolist(),
                    "logit": logits[index].tolist(),
                    "probability": None if shares is None else shares[index].tolist(),
                }
                for index in range(count)
            ],
            "usage": usage(embedded),
        }

    @routes.post("/v1/similarity", **exchange(SimilarityBody, Similarities))
    async def similarity(request: Request) -> Response:
        """Compare each image with each text."""
        return await server.answer(request, SimilarityBody, parse, work)

    return routes
