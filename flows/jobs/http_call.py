"""HTTP requests with timeouts and retries, whose failures are `JobError`s.

In: method, path, JSON. Out: a `Reply`, whatever its status, except for refused credentials. Every request made here is
idempotent, since each names the job it is about, so it may be repeated. Connecting, waiting for the first part of a
response and for each further part have a timeout, and so has reading a response that trickles in.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay, wait_random_exponential

from flows.jobs.errors import RefusedError, RejectedError, TransientJobError, UnreachableError

#: Timeout of each wait of an attempt, and of reading in all; no further attempt begins after twice that.
ATTEMPT_S = 15.0
#: Longer responses are cut off.
MAX_BYTES = 32 * 2**20
_BUSY = frozenset({429, 502, 503, 504})
_EXCERPT = 300


@dataclass(frozen=True, slots=True)
class Access:
    """What a server is shown: headers, and a TLS context with the trusted authorities and any client certificate."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | bool = True


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and body of a response; `cut` when the body was longer than `MAX_BYTES`."""

    status: int
    body: bytes
    cut: bool = False

    def json(self) -> Any:
        """The body as plain values."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise TransientJobError(
                f"A response is not JSON: {self.text()!r}. Is the address that of the API?"
            ) from error

    def missing(self, words: bytes) -> bool:
        """Whether the requested object does not exist: a 404 that contains the API's own `words`.

        Raises:
            UnreachableError: the 404 came from elsewhere, such as an ingress whose server restarts.
        """
        if self.status == 404 and words not in self.body:
            raise UnreachableError(f"Not the API but a proxy in front of it answered 404: {self.text()!r}. Is it up?")
        return self.status == 404

    def text(self) -> str:
        """The end of the body, where a traceback names the error."""
        return self.body[-_EXCERPT:].decode(errors="replace").strip()

    def require(self, what: str) -> Reply:
        """Itself if the request succeeded.

        Raises:
            RejectedError: the request is wrong.
            TransientJobError: the server failed.
        """
        if self.status < 300:
            return self
        kind = TransientJobError if self.status >= 500 else RejectedError
        raise kind(f"Cannot {what}: the cluster answered {self.status}: {self.text()}")


@dataclass(frozen=True, slots=True)
class Http:
    """One server.

    Attributes:
        base: its address, without a slash at the end.
        access: called before each request, because credentials rotate; its argument is the access that the server has
            just answered with 401, else None.
        unreachable, refused: the cures when there is no response, and when the credentials are refused.
    """

    base: str
    access: Callable[[Access | None], Access]
    unreachable: str
    refused: str
    attempt_s: float = ATTEMPT_S

    def request(self, method: str, path: str, payload: object = None, **params: str) -> Reply:
        """Send one request; raises `UnreachableError` or `RefusedError`, and returns any other response."""
        retrying = Retrying(
            retry=retry_if_exception_type(UnreachableError),
            stop=stop_after_attempt(3) | stop_after_delay(2 * self.attempt_s),
            wait=wait_random_exponential(0.2, max=2.0),
            reraise=True,
        )
        return retrying(self._once, method, path, payload, params)

    def _once(self, method: str, path: str, payload: object, params: Mapping[str, str]) -> Reply:
        try:
            reply = self._signed_in(method, path, payload, params)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            if "CERTIFICATE_VERIFY_FAILED" in why:
                raise RefusedError(
                    f"The certificate of {self.base} is not trusted: {why}. Give its authority."
                ) from error
            raise UnreachableError(f"No answer from {self.base} ({why}). {self.unreachable}") from error
        if reply.status in (401, 403):
            raise RefusedError(f"{self.base} refuses the credentials ({reply.status}: {reply.text()}). {self.refused}")
        if reply.status in _BUSY:
            raise UnreachableError(f"{self.base} is too busy ({reply.status}: {reply.text()}). {self.unreachable}")
        return reply

    def _signed_in(self, method: str, path: str, payload: object, params: Mapping[str, str]) -> Reply:
        """Send the request; after a 401 once more, if there are new credentials."""
        access = self.access(None)
        reply = self._read(access, method, path, payload, params)
        if reply.status == 401 and (renewed := self.access(access)) != access:
            reply = self._read(renewed, method, path, payload, params)
        return reply

    def _read(self, access: Access, method: str, path: str, payload: object, params: Mapping[str, str]) -> Reply:
        end_s = time.monotonic() + self.attempt_s
        parts: list[bytes] = []
        size = 0
        with (
            # Loading the system's authorities takes longer than a request, and only https needs them.
            httpx.Client(timeout=self.attempt_s, verify=self.base.startswith("https:") and access.tls) as client,
            client.stream(method, self.base + path, json=payload, params=params, headers=access.headers) as response,
        ):
            for part in response.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > MAX_BYTES:
                    return Reply(response.status_code, b"".join(parts)[:MAX_BYTES], cut=True)
                if time.monotonic() > end_s:
                    raise httpx.ReadTimeout(f"no complete response within {self.attempt_s:g} s")
        return Reply(response.status_code, b"".join(parts))
