"""`POST /v1/classify`: zero-shot classes of images."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from pipeline.serving.border.bodies import FIRST_ERROR
from pipeline.serving.classifying import Classification, RankedClass, classes_of, prompts_of, templates_of
from pipeline.serving.inputs.items import ItemParser
from pipeline.serving.routes.schemas import ImageItems, Usage, exchange
from pipeline.serving.server import ModelBody, Server, usage

_Words = Annotated[list[str], FIRST_ERROR]


class ClassifyBody(ModelBody):
    """Images, and the labels to choose from."""

    images: ImageItems = Field(description="An image or a list; plain strings are URLs, data URIs or base64.")
    labels: Annotated[list[str | _Words], FIRST_ERROR] = Field(
        description="A name for each class, or a list of its names."
    )
    templates: str | _Words | None = Field(
        default=None,
        description="Sets of `hanclip classify`, or templates with {} in place of the label; else general.",
    )
    top_k: int | None = Field(default=None, ge=1, description="How many of the best classes; all if not given.")


class LabelScore(BaseModel):
    """A class of an image."""

    label: str
    index: int
    probability: float = Field(description="Softmax over all labels.")
    cosine: float


class ClassifiedImage(BaseModel):
    """The classes of an image, best first."""

    index: int
    labels: list[LabelScore]


class ClassifiedImages(BaseModel):
    """An element for each image."""

    object: str = "classification"
    model: str
    logit_scale: float
    data: list[ClassifiedImage]
    usage: Usage


def router(server: Server) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["classification"])
    limits = server.desk.limits

    def parse(body: ClassifyBody) -> Classification:
        parser = ItemParser(limits)
        classes = classes_of(body.labels, "labels", parser)
        prompts = prompts_of(classes, templates_of(body.templates, "templates"), "labels", limits)
        images = parser.images(body.images, "images")
        return Classification(images, classes, prompts, min(body.top_k or len(classes), len(classes)))

    async def work(asked: Classification) -> dict[str, Any]:
        found, embedded = await server.classifying.classify(asked)
        labels = asked.classes.labels
        data = [{"index": i, "labels": [_label(one, labels) for one in ranked]} for i, ranked in enumerate(found)]
        head = {"object": "classification", "model": server.card.id, "logit_scale": server.card.logit_scale}
        return {**head, "data": data, "usage": usage(embedded)}

    @routes.post("/v1/classify", **exchange(ClassifyBody, ClassifiedImages))
    async def classify(request: Request) -> Response:
        """Choose among labels for each image."""
        return await server.answer(request, ClassifyBody, parse, work)

    return routes


def _label(one: RankedClass, labels: list[str]) -> dict[str, Any]:
    return {"label": labels[one.number], "index": one.number, "probability": one.probability, "cosine": one.cosine}
