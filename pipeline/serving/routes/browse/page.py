"""`GET /`: the page, with its files below `/page/`. They hold no data and need no key."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pipeline.serving.errors import ApiError, ErrorCode
from pipeline.serving.page.files import FOLDER, GUARDS, PAGE, page_files
from pipeline.serving.server import Server

_FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}


def router(_: Server) -> APIRouter:
    """The routes."""
    routes = APIRouter(include_in_schema=False)
    found = page_files()
    tag = f'"{found.digest}"'

    @routes.get(PAGE)
    async def page(request: Request) -> Response:
        headers = {**GUARDS, "Cache-Control": "no-cache", "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(found.index, headers=headers, media_type="text/html")

    @routes.get(f"{FOLDER}{{digest}}/{{name}}")
    async def file(digest: str, name: str) -> Response:
        known = found.files.get(name)
        if known is None or digest != found.digest:
            message = "There is no such file of the page here. Load the page again."
            raise ApiError(404, ErrorCode.NOT_FOUND, message)
        return Response(known.body, headers={**GUARDS, **_FOREVER}, media_type=known.media_type)

    return routes
