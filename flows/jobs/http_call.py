"""HTTP with a deadline: one request, tried again when nobody answered, its failures told as `JobError`s.

In: method, path, JSON. Out: an `Answer`, whatever its status, but for a refused token. Every request made here may be
repeated, since each names the job it means. Each wait has a deadline: connecting, the first part of an answer, any
further part; and so has the reading of an answer that trickles in.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay, wait_random_exponential

from flows.jobs.errors import RefusedError, RejectedError, TransientJobError, UnreachableError

#: Each wait of an attempt, and the reading as a whole; no further attempt begins after twice that.
ATTEMPT_S = 15.0
#: An answer above this is cut.
MAX_BYTES = 32 * 2**20
_BUSY = frozenset({429, 502, 503, 504})
_EXCERPT = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of one response; `cut` when the body was longer than was wanted."""

    status: int
    body: bytes
    cut: bool = False

    def json(self) -> Any:
        """The body as plain values."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise TransientJobError(
                f"An answer is no JSON: {self.text()!r}. Is the address that of the API?"
            ) from error

    def missing(self, words: bytes) -> bool:
        """Whether what was asked for does not exist: a 404 in the API's own words, not in those of a proxy before it.

        Raises:
            UnreachableError: somebody else said 404, as an ingress does while the server behind it restarts.
        """
        if self.status == 404 and words not in self.body:
            raise UnreachableError(f"Not the API, but something before it answered 404: {self.text()!r}. Is it up?")
        return self.status == 404

    def text(self) -> str:
        """The end of the body, where a traceback says what it is about."""
        return self.body[-_EXCERPT:].decode(errors="replace").strip()

    def require(self, what: str) -> Answer:
        """Itself when the request was carried out.

        Raises:
            RejectedError: the request is wrong as it is.
            TransientJobError: the server failed at it.
        """
        if self.status < 300:
            return self
        kind = TransientJobError if self.status >= 500 else RejectedError
        raise kind(f"Cannot {what}: the cluster answered {self.status}: {self.text()}")


@dataclass(frozen=True, slots=True)
class Http:
    """One server. `headers` are asked for at each request, because tokens rotate.

    Attributes:
        base: its address, without a slash at the end.
        unreachable: what to check when nobody answers; refused: what to check when the token is not accepted.
    """

    base: str
    headers: Callable[[], Mapping[str, str]]
    unreachable: str
    refused: str
    attempt_s: float = ATTEMPT_S
    verify: ssl.SSLContext | bool = True

    def request(self, method: str, path: str, payload: object = None, **params: str) -> Answer:
        """One request; raises `UnreachableError` or `RefusedError`, and gives every other answer as it is."""
        retrying = Retrying(
            retry=retry_if_exception_type(UnreachableError),
            stop=stop_after_attempt(3) | stop_after_delay(2 * self.attempt_s),
            wait=wait_random_exponential(0.2, max=2.0),
            reraise=True,
        )
        return retrying(self._once, method, path, payload, params)

    def _once(self, method: str, path: str, payload: object, params: Mapping[str, str]) -> Answer:
        try:
            answer = self._read(method, path, payload, params)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            if "CERTIFICATE_VERIFY_FAILED" in why:
                raise RefusedError(
                    f"The certificate of {self.base} is not trusted: {why}. Give its authority."
                ) from error
            raise UnreachableError(f"No answer from {self.base} ({why}). {self.unreachable}") from error
        if answer.status in (401, 403):
            raise RefusedError(
                f"{self.base} refuses the credentials ({answer.status}: {answer.text()}). {self.refused}"
            )
        if answer.status in _BUSY:
            raise UnreachableError(f"{self.base} is too busy ({answer.status}: {answer.text()}). {self.unreachable}")
        return answer

    def _read(self, method: str, path: str, payload: object, params: Mapping[str, str]) -> Answer:
        end_s = time.monotonic() + self.attempt_s
        parts: list[bytes] = []
        size = 0
        with (
            # Loading the system's authorities takes longer than a call, and is for https alone.
            httpx.Client(timeout=self.attempt_s, verify=self.base.startswith("https:") and self.verify) as client,
            client.stream(method, self.base + path, json=payload, params=params, headers=self.headers()) as response,
        ):
            for part in response.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > MAX_BYTES:
                    return Answer(response.status_code, b"".join(parts)[:MAX_BYTES], cut=True)
                if time.monotonic() > end_s:
                    raise httpx.ReadTimeout(f"no whole answer within {self.attempt_s:g} s")
        return Answer(response.status_code, b"".join(parts))
