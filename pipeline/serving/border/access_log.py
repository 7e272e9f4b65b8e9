"""The access log: a line of JSON on stderr for each request, without its content, its query and its key."""

from __future__ import annotations

import json
import logging
import time

from starlette.types import Scope

from pipeline.serving.border.call import OpenCall

_LOG = logging.getLogger("hanclip.serve.access")
_MOST_CHARACTERS = 200


def write_access(scope: Scope, call: OpenCall, seconds: float) -> None:
    """Write the line of an answered request."""
    if not _LOG.isEnabledFor(logging.INFO):
        return
    client = scope.get("client")
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "id": call.id,
        "method": scope["method"],
        "path": scope["path"][:_MOST_CHARACTERS],
        "status": call.status or 499,
        "code": call.code,
        "seconds": round(seconds, 4),
        "bytes": call.body_bytes,
        "items": call.items,
        "key": call.key,
        "client": client[0] if client else None,
    }
    _LOG.info("%s", json.dumps({name: value for name, value in line.items() if value is not None}))
