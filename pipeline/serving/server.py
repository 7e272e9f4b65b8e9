"""What the routes of a server share: its model, its limits, and how a request is read and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pydantic import ConfigDict, field_validator
from starlette.requests import Request
from starlette.responses import Response

from pipeline.serving.border.answers import json_answer, json_bytes
from pipeline.serving.border.bodies import Body, Intake, has_body, while_connected
from pipeline.serving.border.call import OpenCall
from pipeline.serving.border.desk import Desk
from pipeline.serving.classifying import Classifying
from pipeline.serving.contract import ModelCard
from pipeline.serving.embedding import Embedded, Embedding, ThreadPools
from pipeline.serving.errors import ApiError, ErrorCode, refused
from pipeline.serving.inputs.items import ParsedItem

B = TypeVar("B", bound="ModelBody")
A = TypeVar("A", bound="Asked")

#: The answer about so many items is written at once, in less time than a thread needs to begin.
_FEW = 4


class Asked(Protocol):
    """What a request asks, after its body was parsed."""

    @property
    def items(self) -> Sequence[ParsedItem]:
        """All of its images and texts."""


class ModelBody(Body):
    """A body that may name the model. A field takes what the description says: `true` and "5" are no numbers."""

    model_config = ConfigDict(strict=True)

    model: str | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        """In JSON 5.0 is the integer 5."""
        return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class Server:
    """What routes need.

    Attributes:
        card: what is said of the model.
        embedding: makes vectors.
        classifying: chooses among labels.
        desk: state of the border.
        threads: for what would hold up the event loop.
    """

    card: ModelCard
    embedding: Embedding
    classifying: Classifying
    desk: Desk
    threads: ThreadPools

    async def answer(
        self, request: Request, kind: type[B], parse: Callable[[B], A], work: Callable[[A], Awaitable[Any]]
    ) -> Response:
        """Answer a request.

        Args:
            request: its body is read here.
            kind: shape of the body.
            parse: makes what `work` takes out of the body; called in a thread.
            work: makes plain values, the answer, out of it; cancelled if the client leaves.
        """
        asked = await Intake(self.desk, self.threads.decoding).read(request, kind, self._checked(parse))
        return await self._answered(request, asked, work)

    async def answer_body(
        self, request: Request, body: B, parse: Callable[[B], A], work: Callable[[A], Awaitable[Any]]
    ) -> Response:
        """The same for a request without a body, whose fields make up `body`."""
        return await self._answered(request, self._checked(parse)(body), work)

    def _checked(self, parse: Callable[[B], A]) -> Callable[[B], A]:
        def checked(body: B) -> A:
            if body.model is not None:
                self.check_model(body.model)
            return parse(body)

        return checked

    async def _answered(self, request: Request, asked: A, work: Callable[[A], Awaitable[Any]]) -> Response:
        call: OpenCall = request.scope["hanclip"]
        call.items = len(asked.items)
        tree = await while_connected(request, work(asked))
        if len(asked.items) <= _FEW:
            return json_answer(tree)
        loop = asyncio.get_running_loop()
        body = await loop.run_in_executor(self.threads.decoding, json_bytes, tree)
        return Response(body, media_type="application/json")

    def check_model(self, name: str) -> None:
        """Raise ApiError if this server has no model of that name."""
        if name not in (self.card.id, *self.card.also):
            message = f"There is no model {name!r} here. Name {self.card.id!r}, as GET /v1/models does."
            raise ApiError(404, ErrorCode.MODEL_NOT_FOUND, message, "model")


def parameters(request: Request) -> dict[str, str]:
    """The parameters of a GET. Raises ApiError: one is there more than once, or there is a body as well."""
    if has_body(request.headers):
        message = "GET takes no body. Write the fields into the URL, or send a POST."
        raise refused(ErrorCode.INVALID_REQUEST, message)
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in found:
            message = f"{name} is there more than once. Give it once; the body of a POST may have lists."
            raise refused(ErrorCode.INVALID_REQUEST, message, name)
        found[name] = value
    return found


def usage(embedded: Sequence[Embedded]) -> dict[str, int]:
    """OpenAI's count of tokens, with the images, and the texts of which only a part was read."""
    tokens = sum(one.tokens for one in embedded)
    return {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "images": sum(not one.tokens for one in embedded),
        "texts_cut": sum(one.too_long for one in embedded),
    }
