"""`POST /zero-shot-image-classification`: zero-shot classes of an image, as Hugging Face's clients ask for them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, RootModel
from starlette.requests import Request
from starlette.responses import Response

from pipeline.serving.border.bodies import FIRST_ERROR
from pipeline.serving.classifying import Classification, classes_of, prompts_of, templates_of
from pipeline.serving.errors import ErrorCode, refused
from pipeline.serving.inputs.items import ItemParser
from pipeline.serving.routes.schemas import OneImage, exchange
from pipeline.serving.server import ModelBody, Server


class HuggingFaceParameters(BaseModel):
    """Labels, and a template for them."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    candidate_labels: Annotated[list[str], FIRST_ERROR] = Field(description="Labels to choose from.")
    hypothesis_template: str | None = Field(default=None, description="With {} in place of the label; else general.")


class HuggingFaceBody(ModelBody):
    """What `InferenceClient.zero_shot_image_classification` sends."""

    ignored: ClassVar[frozenset[str]] = frozenset({"user", "options"})

    inputs: OneImage = Field(description="The image: base64, a data URI or a URL.")
    parameters: HuggingFaceParameters


class HuggingFaceLabel(BaseModel):
    """A label with its probability."""

    label: str
    score: float


class HuggingFaceLabels(RootModel[list[HuggingFaceLabel]]):
    """All labels, best first."""


def router(server: Server) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["classification"])
    limits = server.desk.limits

    def parse(body: HuggingFaceBody) -> Classification:
        asked, param = body.parameters, "parameters.candidate_labels"
        parser = ItemParser(limits)
        classes = classes_of(asked.candidate_labels, param, parser)
        templates = templates_of(asked.hypothesis_template, "parameters.hypothesis_template")
        images = parser.images(body.inputs, "inputs")
        if len(images) != 1:
            raise refused(
                ErrorCode.INVALID_REQUEST, "inputs has several images. Send one, or use /v1/classify.", "inputs"
            )
        return Classification(images, classes, prompts_of(classes, templates, param, limits), len(classes))

    async def work(asked: Classification) -> list[dict[str, Any]]:
        ((ranked,), _) = await server.classifying.classify(asked)
        return [{"label": asked.classes.labels[one.number], "score": one.probability} for one in ranked]

    @routes.post("/zero-shot-image-classification", **exchange(HuggingFaceBody, HuggingFaceLabels))
    async def zero_shot_image_classification(request: Request) -> Response:
        """The same for Hugging Face's clients, with this URL as their model."""
        return await server.answer(request, HuggingFaceBody, parse, work)

    return routes
