"""`GET /v1/dataset`, `/v1/sample`, `/v1/row` and `/v1/picture`: what there is in a dataset, some rows, and one row."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from pipeline.serving.border.answers import json_answer
from pipeline.serving.border.bodies import Body, shaped, while_connected
from pipeline.serving.page.files import GUARDS
from pipeline.serving.routes.schemas import ErrorObject, answers
from pipeline.serving.search.browsing import Browsing
from pipeline.serving.search.pictures import RowPictures
from pipeline.serving.search.searching import Searching
from pipeline.serving.server import Server, parameters

#: Longer side of a picture, in pixels.
_SIDES = {"small": 320, "large": 1024}


class RowBody(Body):
    """A row."""

    id: str = Field(description="Its id.")


class PictureBody(RowBody):
    """A row's picture."""

    source_fingerprint: str = Field(description="As in the answer of a search: the state of the row.")
    size: Literal["small", "large"] = Field(default="small", description="Longer side: 320 or 1024 pixels at most.")


class NamedType(BaseModel):
    """A column, and its type in Arrow's words."""

    name: str
    type: str


class DatasetFacts(BaseModel):
    """What can be searched and filtered."""

    object: str = "dataset"
    column: list[str] = Field(description="What can be searched: images, texts.")
    pictures: bool = Field(description="Whether rows have pictures.")
    one_per_group: bool = Field(description="Whether there is a table of duplicates.")
    where: list[NamedType] = Field(description="Columns that conditions can name.")


class NearText(BaseModel):
    """A text, with the row that it is of."""

    text: str
    similarity: float
    id: str
    source_fingerprint: str


class SampleRow(BaseModel):
    """A row with its text."""

    id: str
    source_fingerprint: str
    columns: dict[str, Any] = Field(description="`text`, if the dataset has texts.")


class SampleRows(BaseModel):
    """Rows from all over the dataset, one of each group of duplicates; the same ones until the dataset changes."""

    object: str = "list"
    data: list[SampleRow]


class WholeRow(BaseModel):
    """A row with all columns but its vectors."""

    object: str = "row"
    id: str
    source_fingerprint: str
    columns: dict[str, Any]
    texts: list[NearText] = Field(description="The texts of the dataset that are nearest to its image.")


def router(searching: Searching, server: Server) -> APIRouter:
    """The routes."""
    routes, threads = APIRouter(tags=["search"]), server.threads
    browsing = Browsing(searching)
    pictures = RowPictures(
        searching.dataset, server.embedding.decoding, threads.pictures, server.desk.limits.max_image_bytes
    )

    @routes.get("/v1/dataset", **answers(DatasetFacts))
    async def dataset(request: Request) -> Response:
        """What of the dataset can be searched and filtered."""
        loop = asyncio.get_running_loop()
        facts = await while_connected(request, loop.run_in_executor(threads.searching, browsing.facts))
        return json_answer({"object": "dataset", **facts})

    @routes.get("/v1/sample", **answers(SampleRows))
    async def sample(request: Request) -> Response:
        """Some rows, to see what the dataset holds."""
        loop = asyncio.get_running_loop()
        found = await while_connected(request, loop.run_in_executor(threads.searching, browsing.sample))
        return json_answer({"object": "list", "data": found})

    @routes.get("/v1/row", **answers(WholeRow), openapi_extra=_parameters(RowBody))
    async def row(request: Request) -> Response:
        """One row with all of its columns but vectors, and the nearest texts."""
        asked, loop = shaped(RowBody, parameters(request)), asyncio.get_running_loop()
        found = await while_connected(request, loop.run_in_executor(threads.searching, browsing.row, asked.id))
        return json_answer({"object": "row", **found})

    @routes.get("/v1/picture", **_A_PICTURE, openapi_extra=_parameters(PictureBody))
    async def picture(request: Request) -> Response:
        """The picture of a row as a JPEG, read again from its source."""
        asked = shaped(PictureBody, parameters(request))
        key = asked.id, asked.source_fingerprint
        found = await while_connected(request, pictures.picture(key, _SIDES[asked.size]))
        # A browser keeps a picture for who sends the same key, and asks again once the key is forgotten.
        headers = {**GUARDS, "Cache-Control": "private, max-age=86400", "Vary": "Authorization"}
        return Response(found, headers=headers, media_type="image/jpeg")

    return routes


#: Keywords of a route that answers with a JPEG.
_A_PICTURE: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {"content": {"image/jpeg": {}}},
        "4XX": {"model": ErrorObject},
        "5XX": {"model": ErrorObject},
    },
}


def _parameters(body: type[Body]) -> dict[str, Any]:
    """The fields of `body` as parameters of a URL."""
    schema = body.model_json_schema()
    required = schema.get("required", [])
    found = [
        {"name": name, "in": "query", "required": name in required, "schema": kind}
        for name, kind in schema["properties"].items()
    ]
    return {"parameters": found}
