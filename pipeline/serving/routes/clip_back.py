"""`POST /knn-service`, `POST /metadata` and `GET /indices-list`: searches as clip-retrieval's clients ask for them.

In: the bodies of its `ClipClient` and of its front end. Out: its answers. What these clients send for models that are
not here, for aesthetics, safety and other languages, changes nothing: they send it with every request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, RootModel, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from pipeline.curation.search.request import WantedRows
from pipeline.serving.border.answers import json_answer
from pipeline.serving.border.bodies import FIRST_ERROR
from pipeline.serving.errors import ApiError, ErrorCode, refused
from pipeline.serving.inputs.items import Item, too_many
from pipeline.serving.routes.schemas import answers, exchange
from pipeline.serving.search.asked import AskedSearch, QueryParser, QueryPart
from pipeline.serving.search.clip_rows import ClipRows
from pipeline.serving.search.searching import Searching
from pipeline.serving.server import ModelBody, Server
from pipeline.serving.settings import SearchSettings
from pipeline.vocabulary import Side

_SIDES: dict[str, Side] = {"image": "images", "text": "texts"}
#: clip-retrieval's front end asks for 3,000 with every search, so that more are no error.
_MOST_ROWS = 1000

_Numbers = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "null"}]})]


class KnnBody(ModelBody):
    """What is searched for: the first that is given of text, image, image_url and embedding_input."""

    ignored: ClassVar[frozenset[str]] = frozenset(
        {
            "user",
            "use_mclip",
            "use_safety_model",
            "use_violence_detector",
            "aesthetic_score",
            "aesthetic_weight",
            "verbose",
        }
    )

    text: str | None = None
    image: str | None = Field(default=None, description="Base64.")
    image_url: str | None = None
    embedding_input: _Numbers = Field(default=None, description="A vector of this model.")
    modality: Literal["image", "text"] = Field(default="image", description="Which vectors to search.")
    num_images: int = Field(default=40, ge=1, description="Rows that are described.")
    num_result_ids: int | None = Field(
        default=None, ge=1, description="Rows, at most 1,000; as many as num_images if not given."
    )
    indice_name: str | None = Field(default=None, description="The one of /indices-list.")
    deduplicate: bool = Field(
        default=False, description="One row of each group of duplicates, if the dataset has a current table of them."
    )


class KnnResult(BaseModel):
    """A row; only the first num_images have more than id and similarity."""

    model_config = ConfigDict(extra="allow")

    id: int
    similarity: float
    caption: str | None = None
    url: str | None = None
    image_path: str | None = None
    hanclip_id: str | None = None


class KnnResults(RootModel[list[KnnResult]]):
    """The nearest rows, most similar first."""


class MetadataBody(ModelBody):
    """Rows to describe."""

    ids: Annotated[list[int], FIRST_ERROR] = Field(description="As /knn-service gives them.")
    indice_name: str | None = Field(default=None, description="The one of /indices-list.")


class RowMetadata(BaseModel):
    """A row with what is known of it."""

    id: int
    metadata: dict[str, Any]


class RowsMetadata(RootModel[list[RowMetadata]]):
    """The rows in the order of the ids, without those that are not there."""


class IndexNames(RootModel[list[str]]):
    """The one index: the name of the model, as in /v1/models."""


@dataclass(frozen=True, slots=True)
class _AskedRows:
    search: AskedSearch
    described: int

    @property
    def items(self) -> Sequence[Item]:
        return self.search.items


@dataclass(frozen=True, slots=True)
class _AskedNumbers:
    numbers: Sequence[int]

    @property
    def items(self) -> Sequence[Item]:
        return ()


def router(searching: Searching, settings: SearchSettings, server: Server) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["clip-retrieval"])
    parser, rows = _Parser(searching, settings, server), ClipRows(searching)

    async def search(asked: _AskedRows) -> list[dict[str, Any]]:
        embedded = await server.embedding.vectors(asked.items)
        return await _in_thread(server, rows.nearest, asked.search, embedded, asked.described)

    async def describe(asked: _AskedNumbers) -> list[dict[str, Any]]:
        # Its front end asks for nothing when it has scrolled to the last row.
        return await _in_thread(server, rows.metadata, asked.numbers) if asked.numbers else []

    @routes.post("/knn-service", **exchange(KnnBody, KnnResults))
    async def knn_service(request: Request) -> Response:
        """Find the nearest rows, for clip-retrieval's clients."""
        return await server.answer(request, KnnBody, parser.parse, search)

    @routes.post("/metadata", **exchange(MetadataBody, RowsMetadata))
    async def metadata(request: Request) -> Response:
        """Describe rows that /knn-service found."""
        return await server.answer(request, MetadataBody, parser.parse_numbers, describe)

    @routes.get("/indices-list", **answers(IndexNames))
    async def indices_list(request: Request) -> Response:
        """Name the index."""
        return json_answer([server.card.id])

    return routes


async def _in_thread(server: Server, work: Any, *arguments: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await asyncio.get_running_loop().run_in_executor(
        server.threads.searching, work, *arguments
    )
    return found


class _Parser:
    """Parses these bodies for one dataset."""

    def __init__(self, searching: Searching, settings: SearchSettings, server: Server) -> None:
        self._searching, self._card, self._most_rows = searching, server.card, min(_MOST_ROWS, settings.max_rows)
        self._limits = server.desk.limits

    def parse(self, body: KnnBody) -> _AskedRows:
        """Parse a search. Raises ApiError."""
        self._check_index(body.indice_name)
        query, top = self._query(body), min(body.num_result_ids or body.num_images, self._most_rows)
        side = self._searching.side_of(_SIDES[body.modality], "modality")
        wanted = WantedRows(top=top, one_per_group=body.deduplicate)
        return _AskedRows(AskedSearch([[query]], (), False, side, wanted, {}), body.num_images)

    def parse_numbers(self, body: MetadataBody) -> _AskedNumbers:
        """Parse a request for metadata. Raises ApiError."""
        self._check_index(body.indice_name)
        if len(body.ids) > _MOST_ROWS:
            raise too_many("ids", len(body.ids), _MOST_ROWS, "ids")
        return _AskedNumbers(body.ids)

    def _check_index(self, name: str | None) -> None:
        if name not in (None, self._card.id, *self._card.also):
            message = f"There is no index {name!r} here. Name {self._card.id!r}, as GET /indices-list does."
            raise ApiError(404, ErrorCode.NOT_FOUND, message, "indice_name")

    def _query(self, body: KnnBody) -> QueryPart:
        parser = QueryParser(self._limits, self._card.dim, 1)
        if body.text:
            return parser.queries({"text": body.text}, "text")[0]
        for name in ("image", "image_url"):
            if address := getattr(body, name):
                return parser.queries({"image": address}, name)[0]
        if body.embedding_input is not None:
            return parser.vector(body.embedding_input, "embedding_input")
        message = "There is nothing to search for. Give text, image, image_url or embedding_input."
        raise refused(ErrorCode.INVALID_REQUEST, message, "text")
