"""Reads a request's body within limits, as JSON of a known shape, whatever its Content-Type says.

Clients such as `curl -d` and clip-retrieval's name no JSON. Large ones are parsed in a thread: 32 MB take a good part
of a second.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request

from pipeline.serving.border.call import OpenCall
from pipeline.serving.border.desk import Desk
from pipeline.serving.errors import ApiError, ErrorCode, refused
from pipeline.validation import validated

T = TypeVar("T")

#: Parsed at once, in less time than a thread needs to begin.
_SMALL_BYTES = 2**16
#: A tree of more values takes many times the memory of its text: an empty list of three bytes takes 64.
_MOST_VALUES = 1_000_000
#: No object of a request has more fields.
_MOST_FIELDS = 256
#: A client that leaves is noticed no sooner than so long after its body has come.
_WATCHED_AFTER_S = 0.02
#: Alternatives for an element of a list.
_TYPES = frozenset({"str", "int", "float", "bool"})
#: For lists of a body: checking them ends at the first wrong item, as reports on millions would take gigabytes.
FIRST_ERROR: Any = Field(fail_fast=True)


class Body(BaseModel):
    """A request's body. Unknown fields are refused, so that none is thought to have an effect."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    #: Fields of other services that change nothing here.
    ignored: ClassVar[frozenset[str]] = frozenset({"user"})


B = TypeVar("B", bound=Body)


class Intake:
    """Reads bodies.

    Args:
        desk: the server's limits and budget.
        threads: where bodies are parsed.
    """

    def __init__(self, desk: Desk, threads: Executor) -> None:
        self._desk, self._threads = desk, threads

    async def read(self, request: Request, kind: type[B], parse: Callable[[B], T]) -> T:
        """What `parse`, which is called in a thread for large ones, makes of the request's body.

        Raises:
            ApiError: the body is too large, no JSON, or not of the shape `kind`.
        """
        raw = await self._bytes(request)

        def parsed() -> T:
            return parse(shaped(kind, _tree(raw)))

        if len(raw) <= _SMALL_BYTES:
            return parsed()
        return await asyncio.get_running_loop().run_in_executor(self._threads, parsed)

    async def _bytes(self, request: Request) -> bytes:
        call: OpenCall = request.scope["hanclip"]
        if (encoding := request.headers.get("content-encoding", "identity").strip().lower()) != "identity":
            message = f"The body is compressed ({encoding!r}), which is not read here. Send it as it is."
            raise ApiError(415, ErrorCode.ENCODING, message, headers={"Accept-Encoding": "identity"})
        most = self._desk.limits.max_body_bytes
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced[:20]) > most:
            raise _too_large(most)
        chunks = list[bytes]()
        try:
            async with self._desk.arrivals.arriving(call) as take:
                async for chunk in request.stream():
                    if call.body_bytes + len(chunk) > most:
                        raise _too_large(most)
                    take(len(chunk))
                    chunks.append(chunk)
        except ClientDisconnect as error:
            raise _client_left() from error
        except TimeoutError as error:
            raise _too_slow() from error
        call.is_read = True
        self._desk.take_place(call)
        return b"".join(chunks)


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled if the client leaves."""
    watch = _Watch(request)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.client_left:
            watch.asking.uncancel()
            raise _client_left() from None
        raise
    finally:
        watch.end()


class _Watch:
    """Cancels the task in which it is made if the client of a request leaves.

    It begins a little later: work that is done by then is not watched, as a task costs a small request more than its
    parsing.

    Attributes:
        asking: the task.
        client_left: the task was cancelled.
    """

    def __init__(self, request: Request) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._request, self.asking = request, task
        self.client_left = False
        self._watching: asyncio.Task[None] | None = None
        self._start = asyncio.get_running_loop().call_later(_WATCHED_AFTER_S, self._begin)

    def end(self) -> None:
        """Watch no longer."""
        self._start.cancel()
        if self._watching is not None:
            self._watching.cancel()

    def _begin(self) -> None:
        self._watching = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.client_left = True
        self.asking.cancel()


def _tree(raw: bytes) -> Any:
    if raw.count(b",") > _MOST_VALUES:
        message = f"The body has more than {_MOST_VALUES:,} values. Send them in several requests."
        raise refused(ErrorCode.TOO_MANY_INPUTS, message)
    try:
        return _DECODER.decode(raw.decode(json.detect_encoding(raw), "surrogatepass"))
    except (ValueError, RecursionError) as error:
        message = "The body is not valid JSON in UTF-8. Send a JSON object."
        raise refused(ErrorCode.NOT_JSON, message) from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of the body. Raises ApiError if a name is there twice, or if no request has so many."""
    found = dict(pairs)
    if len(pairs) > _MOST_FIELDS:
        message = f"An object has {len(pairs):,} fields, more than {_MOST_FIELDS}. Send what /openapi.json describes."
        raise refused(ErrorCode.INVALID_REQUEST, message)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        message = f"{twice!r} is there more than once in an object. Give it once, with a list if there are several."
        raise refused(ErrorCode.INVALID_REQUEST, message, twice)
    return found


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_object)


def has_body(headers: Mapping[str, str]) -> bool:
    """Whether a request comes with a body."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def shaped(kind: type[B], tree: Any) -> B:
    """The body that a tree of plain values makes. Raises ApiError."""
    if not isinstance(tree, dict):
        raise refused(
            ErrorCode.INVALID_REQUEST, "The body is not a JSON object. Send one, as /openapi.json describes it."
        )
    given = {name: value for name, value in tree.items() if name not in kind.ignored}
    try:
        return validated(kind, given, "The request is not valid", cure="See /openapi.json.", error=_invalid)
    except ApiError as error:
        cause = error.__cause__
        if isinstance(cause, ValidationError):
            error.param = _param(cause.errors(include_url=False, include_input=False)[0]["loc"]) or None
        raise


def _param(place: tuple[int | str, ...]) -> str:
    """A place in the body as items have it, such as `labels[1]`; pydantic adds the type that an element should have."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place if part not in _TYPES)
    return "".join(parts).removeprefix(".")


def _invalid(message: str) -> ApiError:
    return refused(ErrorCode.INVALID_REQUEST, message.replace("\n  ", " ").replace("?\n", "? ").replace("\n", ". "))


def _client_left() -> ApiError:
    return ApiError(499, ErrorCode.CLIENT_GONE, "The client closed the connection.")


def _too_slow() -> ApiError:
    return ApiError(408, ErrorCode.TIMED_OUT, "The body came too slowly. Send it at once, or fewer images at once.")


def _too_large(limit: int) -> ApiError:
    message = f"The request has more than {limit:,} bytes. Send fewer or smaller images at once."
    return ApiError(413, ErrorCode.BODY_TOO_LARGE, message)
