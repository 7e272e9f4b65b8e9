"""What HAProxy answers where no replica does: 503 with `Retry-After`, in the form of all other errors.

Ray Serve has HAProxy answer 500 in plain text if a replica is lost with a request, if there is none, or if one takes
too long. Requests change nothing, so clients may try again, and they do so for 503. Ray writes that answer into a file
beside HAProxy's configuration, and HAProxy reads it whenever replicas come or go. So a replica that replaces the file
before it is ready has its own answer in use. Ray writes it again when it starts HAProxy again, so replicas look at it
from time to time.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path

from pipeline.serving.border.answers import whole_answer
from pipeline.serving.errors import RETRY_AFTER_S, ApiError, ErrorCode

_LOG = logging.getLogger("hanclip.serve")
_NO_REPLICA = ApiError(
    503, ErrorCode.NO_REPLICA, "No replica answered this request. Try again in a moment.", retry_after_s=RETRY_AFTER_S
)


def replace_error_page(node_id: str) -> None:
    """Replace the answer of the HAProxy of this node, which has this id in Ray, if there is one and it is another."""
    configuration = Path(os.environ.get("RAY_SERVE_HAPROXY_CONFIG_FILE_LOC", "/tmp/haproxy-serve/haproxy.cfg"))
    page, answer = configuration.parent / node_id / "500.http", whole_answer(_NO_REPLICA)
    part = page.with_name(f".{page.name}.{os.getpid()}")
    try:
        if page.read_bytes() == answer:
            return
        part.write_bytes(answer)
        part.replace(page)
    except FileNotFoundError:
        return  # Serve's own proxy, or HAProxy has not begun
    except OSError as error:
        _warn(error.strerror)


@cache
def _warn(why: str) -> None:
    """Say it once, however often replicas look."""
    _LOG.warning("HAProxy answers 500 where no replica answers: its page cannot be replaced (%s)", why)
