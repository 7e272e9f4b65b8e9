"""`GET /v1/models` and `GET /v1/models/{id}`: the model, with what its vectors follow from."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from pipeline.serving.border.answers import json_answer
from pipeline.serving.routes.schemas import ModelList, ModelObject, answers
from pipeline.serving.server import Server


def router(server: Server) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["models"])

    @routes.get("/v1/models", **answers(ModelList))
    async def list_models() -> Response:
        """The one model that this server has."""
        return json_answer({"object": "list", "data": [server.card.body()]})

    @routes.get("/v1/models/{name:path}", **answers(ModelObject))
    async def get_model(name: str) -> Response:
        """One model."""
        server.check_model(name)
        return json_answer(server.card.body())

    return routes
