"""The border of the application: every request comes in and every answer goes out here.

It gives each request an id, asks for its key, counts it, limits how many are in progress and how long one takes, turns
every exception into one error shape, and writes the access log. Probes and the page need no key.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serving.border.access_log import write_access
from pipeline.serving.border.answers import json_bytes
from pipeline.serving.border.bodies import has_body
from pipeline.serving.border.call import OpenCall
from pipeline.serving.border.desk import Desk
from pipeline.serving.errors import ApiError, ErrorCode
from pipeline.serving.page.files import is_of_page

#: Paths that need no key, and that are answered however many requests are in progress.
PROBES = frozenset({"/healthz", "/readyz"})
#: Answered however many requests are in progress, as an overload is when they matter most.
_METRICS = "/metrics"

_LOG = logging.getLogger("hanclip.serve")
_REQUEST_ID = re.compile(r"[\w.-]{1,64}")
#: A body that nobody reads is dropped behind the answer if it is no longer than this. Of others so much is taken in
#: before the answer, for so long, so that their sender looks at it before the connection is closed.
DROPPED_BYTES, _DISCARD_S = 2**20, 1.0


class Border:
    """ASGI middleware.

    Args:
        app: the routes.
        desk: the server's state.
    """

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app, self._desk = app, desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = _headers_of(scope)
        call = OpenCall(_request_id(headers), time.monotonic(), has_body(headers), _drops_rest(scope, headers))
        scope["hanclip"] = call
        self._desk.metrics.in_flight.add()

        async def reply(message: Message) -> None:
            if message["type"] == "http.response.body" and scope["method"] == "HEAD":
                message = {**message, "body": b""}
            if message["type"] == "http.response.start":
                call.status = message["status"]
                message["headers"] = [*message["headers"], *self._headers(call)]
            await send(message)

        # The host needs the method as it came, so that it sends no body.
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        try:
            await self._answered(inner, call, headers, receive, reply)
        finally:
            self._desk.metrics.in_flight.add(value=-1)
            self._desk.leave(call)
            self._report(scope, _route(inner), call)

    async def _answered(
        self, scope: Scope, call: OpenCall, headers: Mapping[str, str], receive: Receive, reply: Send
    ) -> None:
        error: ApiError
        try:
            async with asyncio.timeout(self._desk.limits.request_timeout_s):
                self._admit(scope, call, headers)
                await self._app(scope, receive, reply)
                return
        except ApiError as known:
            error = known
        except TimeoutError:
            message = "The request took too long. Send fewer items, or try again in a moment."
            error = ApiError(503, ErrorCode.TIMED_OUT, message, retry_after_s=5)
        except Exception:  # noqa: BLE001 - logged, counted, and answered; the server lives on
            _LOG.exception("request %s failed", call.id)
            message = f"Something is wrong in this server. Report it to who runs it, with the request id {call.id}."
            error = ApiError(500, ErrorCode.INTERNAL, message)
        if call.status is None:
            await self._discard(call, headers, receive)
            await respond(error, call, reply)

    def _admit(self, scope: Scope, call: OpenCall, headers: Mapping[str, str]) -> None:
        """Raise ApiError unless the request may be answered."""
        path = _path(scope)
        if path in PROBES:
            return
        call.key, call.headers = self._desk.gate.admit(headers, is_open=is_of_page(path))
        if path == _METRICS:
            return
        if call.has_body:  # a client that sends slowly takes no place from others
            self._desk.require_place()
        else:
            self._desk.take_place(call)

    def _headers(self, call: OpenCall) -> list[tuple[bytes, bytes]]:
        found = {"x-request-id": call.id, "x-content-type-options": "nosniff", **call.headers}
        if self._desk.is_draining or (call.has_body and not (call.is_read or call.drops_rest)):
            found["connection"] = "close"
        return [(name.encode(), value.encode("latin-1", "replace")) for name, value in found.items()]

    async def _discard(self, call: OpenCall, headers: Mapping[str, str], receive: Receive) -> None:
        if call.is_read or not call.has_body or "expect" in headers:
            return
        if call.drops_rest and not self._desk.is_draining:
            return
        taken = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_S):
                while taken <= DROPPED_BYTES and not call.is_read:
                    message = await receive()
                    taken += len(message.get("body", b""))
                    call.is_read = message["type"] == "http.request" and not message.get("more_body")
                    if message["type"] == "http.disconnect":
                        return

    def _report(self, scope: Scope, route: str, call: OpenCall) -> None:
        seconds = time.monotonic() - call.began_s
        self._desk.metrics.requests.add(route, str(call.status or 499), call.key or "-")
        self._desk.metrics.seconds.observe(route, value=seconds)
        if call.code:
            self._desk.metrics.rejected.add(call.code)
        if self._desk.writes_log and _path(scope) not in PROBES:
            write_access(scope, call, seconds)


async def respond(error: ApiError, call: OpenCall, send: Send) -> None:
    """Send an error as the whole answer."""
    call.code = error.code
    call.headers = {**call.headers, **error.headers}
    body = json_bytes(error.body())
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _headers_of(scope: Scope) -> Mapping[str, str]:
    """Of a name that is there twice, the first."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}


def _path(scope: Scope) -> str:
    """The path below the prefix under which a host has the application."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _drops_rest(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Whether the host may drop the rest of the body behind the answer: it is short, and the connection stays open."""
    length = headers.get("content-length", "")
    is_short = length.isdecimal() and int(length[:20]) <= DROPPED_BYTES and "expect" not in headers
    return is_short and scope.get("http_version") == "1.1" and "close" not in headers.get("connection", "").lower()


def _request_id(headers: Mapping[str, str]) -> str:
    """The client's own, if it can stand in a log, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _route(scope: Scope) -> str:
    """The route's pattern: paths that clients make up must not become metrics."""
    found: Any = scope.get("route")
    return str(getattr(found, "path", "other"))
