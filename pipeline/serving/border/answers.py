"""Answers as JSON."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from pipeline.serving.errors import ApiError

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_bytes(tree: Any) -> bytes:
    """JSON in UTF-8. Half of a surrogate pair, which a client may have sent, becomes an escape, as it came."""
    return _ENCODER.encode(tree).encode("utf-8", "backslashreplace")


def json_answer(tree: Any, status: int = 200) -> Response:
    """An answer of plain values."""
    return Response(json_bytes(tree), status, media_type="application/json")


def whole_answer(error: ApiError, **headers: str) -> bytes:
    """The error as the bytes of an HTTP answer, for where there is no application to send it."""
    body = json_bytes(error.body())
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers, **error.headers}
    first = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in fields.items()), "", ""]).encode() + body
