"""Answers as JSON."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_bytes(tree: Any) -> bytes:
    """JSON in UTF-8. Half of a surrogate pair, which a client may have sent, becomes an escape, as it came."""
    return _ENCODER.encode(tree).encode("utf-8", "backslashreplace")


def json_answer(tree: Any, status: int = 200) -> Response:
    """An answer of plain values."""
    return Response(json_bytes(tree), status, media_type="application/json")
