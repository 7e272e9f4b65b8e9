"""Makes the ASGI application of a server out of a model and settings. Any ASGI host can run it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipeline import __version__
from pipeline.serving.access.gate import Gate
from pipeline.serving.border.border import PROBES, Border
from pipeline.serving.border.desk import Desk
from pipeline.serving.border.direct import DirectRoutes
from pipeline.serving.classifying import Classifying
from pipeline.serving.contract import Encoder, ModelCard
from pipeline.serving.embedding import Embedding, ThreadPools
from pipeline.serving.errors import ApiError, ErrorCode
from pipeline.serving.inputs.fetch import Fetcher, fetch_policy
from pipeline.serving.routes import classify, embeddings, health, hugging_face, models, rerank, score, similarity
from pipeline.serving.routes.browse import page
from pipeline.serving.routes.schemas import with_keys
from pipeline.serving.server import Server
from pipeline.serving.settings import ServeSettings

#: An ASGI application, whose `state.server` is what its routes share.
Application = FastAPI
#: Makes the routes of a module; each module of `routes` has one.
MakeRouter = Callable[[Server], APIRouter]
ROUTES: tuple[MakeRouter, ...] = (
    models.router,
    embeddings.router,
    similarity.router,
    classify.router,
    hugging_face.router,
    score.router,
    rerank.router,
    health.router,
    page.router,
)


def create_app(
    encoder: Encoder,
    card: ModelCard,
    settings: ServeSettings,
    gate: Gate,
    decode_threads: int = 1,
    more: tuple[MakeRouter, ...] = (),
) -> Application:
    """The application; its `state.server` is what the routes share.

    Args:
        encoder: the model, loaded.
        card: what is said of it.
        settings: limits, and which images are fetched.
        gate: who may ask.
        decode_threads: threads that parse and decode.
        more: further routes.
    """
    desk, threads = Desk(settings.limits, gate), ThreadPools(decode_threads)
    fetcher = _fetcher(settings, desk)
    embedding = Embedding(encoder, settings.limits, threads, fetcher, desk.metrics, card.refuses_long_texts)
    server = Server(card, embedding, Classifying(embedding, card.logit_scale, threads.decoding), desk, threads)

    app = _bare(threads, fetcher)
    app.state.server = server
    routers = [make(server) for make in (*ROUTES, *more)]
    for router in routers:
        app.include_router(router)
    app.add_middleware(DirectRoutes, routes=[route for router in routers for route in router.routes])
    app.add_middleware(Border, desk=desk)  # outermost
    return app


def _bare(threads: ThreadPools, fetcher: Fetcher) -> FastAPI:
    """An application without routes, which ends its threads."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        threads.close()
        fetcher.close()

    return _Described(
        title="hanclip",
        version=__version__,
        summary="Embeddings, similarities and zero-shot classes from Chinese CLIP",
        docs_url=None,
        redoc_url=None,
        # Behind a proxy it would redirect to the address that the server has there, without TLS.
        redirect_slashes=False,
        lifespan=lifespan,
        exception_handlers={HTTPException: _unrouted},
    )


class _Described(FastAPI):
    """Its description says which routes need a key. FastAPI knows of no keys, since the border asks for them."""

    def openapi(self) -> dict[str, Any]:
        """As FastAPI's."""
        tree, server = super().openapi(), self.state.server
        return with_keys(tree, PROBES) if server.desk.gate.asks_for_keys else tree


def _fetcher(settings: ServeSettings, desk: Desk) -> Fetcher:
    policy = None if settings.images.no_image_urls else fetch_policy(settings.images, settings.limits.max_image_bytes)
    return Fetcher(policy, lambda seconds: desk.metrics.fetches.observe(value=seconds))


async def _unrouted(request: Request, error: Exception) -> Response:
    """Raise the error for a path or a method that is not there; the border answers it, as it does all others."""
    path, method = request.url.path, request.method
    if isinstance(error, HTTPException) and error.status_code == 405:
        message, allowed = f"{path} does not take {method}. See /openapi.json.", dict(error.headers or {})
        raise ApiError(405, ErrorCode.METHOD_NOT_ALLOWED, message, headers=allowed) from error
    cure = "Leave out the slash at its end" if path.endswith("/") and path != "/" else "See /openapi.json"
    raise ApiError(404, ErrorCode.NOT_FOUND, f"There is no {path} here. {cure}.") from error
