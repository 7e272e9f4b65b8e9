"""`GET /healthz`, `/readyz` and `/metrics`: for what watches the server."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, Response

from pipeline.serving.border.answers import json_answer
from pipeline.serving.errors import ApiError, ErrorCode
from pipeline.serving.routes.schemas import answers
from pipeline.serving.server import Server


class ServerState(BaseModel):
    """What a probe reads."""

    status: str
    model: str | None = None


def router(server: Server) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", **answers(ServerState))
    async def healthz() -> Response:
        """Whether the process works; if not, it should be restarted."""
        if server.embedding.is_lost:
            raise ApiError(503, ErrorCode.DEVICE_LOST, "The device stopped computing. Restart this server.")
        return json_answer({"status": "ok"})

    @routes.get("/readyz", **answers(ServerState))
    async def readyz() -> Response:
        """Whether to send requests here."""
        if server.embedding.is_lost or server.desk.is_draining:
            raise ApiError(503, ErrorCode.DRAINING, "This server is about to end. Send requests to another one.")
        return json_answer({"status": "ready", "model": server.card.id})

    @routes.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counts and times, as Prometheus reads them."""
        server.embedding.report(server.desk.metrics)
        return Response(server.desk.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes
