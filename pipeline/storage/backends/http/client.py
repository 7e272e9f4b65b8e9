"""Sends requests: one session per guard, a few requests at once per host, redirects one by one."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from weakref import WeakValueDictionary

import aiohttp

from pipeline import __version__
from pipeline.errors import BadUriError
from pipeline.storage.backends.http import loop
from pipeline.storage.backends.http.failures import given_up
from pipeline.storage.backends.http.public_addresses import PublicResolver, refuse_host, refuse_literal
from pipeline.storage.backends.http.urls import HttpUrl
from pipeline.storage.health import HostHealth
from pipeline.storage.policy import ReadPolicy
from pipeline.storage.uris import printable, web_host

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_PER_HOST = 16
_CONNECT_S = 10.0
_USER_AGENT = f"hanclip/{__version__}"
_DEFAULT_PORTS = (("http", 80), ("https", 443))


#: Names and values; a name may come twice.
Headers = Sequence[tuple[str, str]]


class HttpClient:
    """A session that is opened by its first request, in the event loop of `loop`.

    Args:
        guarded: refuse addresses that are not public.
    """

    def __init__(self, guarded: bool) -> None:
        self._guarded = guarded
        self._session: aiohttp.ClientSession | None = None
        # A catalog has more hosts than memory has room for semaphores: one lives as long as a request needs it.
        self._slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def request(
        self, method: str, uri: str, policy: ReadPolicy, headers: Headers
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The final response after at most five redirects; the deadline covers all of them and the body.

        One host gets at most 16 requests at once; waiting for a slot does not count against the deadline.
        """
        first, hosts, host = HttpUrl.parse(uri), policy.hosts or HostHealth(), web_host(uri)
        url = first
        slot = self._slots.setdefault(url.authority, asyncio.Semaphore(_PER_HOST))
        asked = ""  # the host that owes a response
        try:
            async with slot, asyncio.timeout(policy.timeout_s):
                for _ in range(_MAX_REDIRECTS + 1):
                    refuse_host(url.origin[1], policy.allowed_hosts, uri)
                    if not hosts.may_ask(host):
                        raise given_up(uri, host)
                    asked = host
                    async with self._send(method, url, [*_headers(policy, url, first), *headers]) as response:
                        hosts.answered(host)
                        asked = ""
                        if response.status not in _REDIRECTS or "Location" not in response.headers:
                            yield response
                            return
                        url = _followed(url, response.headers["Location"], uri)
                        host = url.authority
                raise BadUriError(
                    f"{printable(uri)} redirects more than {_MAX_REDIRECTS} times. Correct it in the table.", uri
                )
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            if asked:
                hosts.silent(asked, isinstance(error, TimeoutError))
            raise

    def _send(self, method: str, url: HttpUrl, headers: Headers) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        sent = url.sent
        if self._guarded:
            refuse_literal(sent)
        return self._open().request(method, sent, headers=headers, allow_redirects=False)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = PublicResolver() if self._guarded else None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, resolver=resolver),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=_CONNECT_S),
                headers={"Accept-Encoding": "identity", "User-Agent": _USER_AGENT},
                auto_decompress=False,
            )
            atexit.register(self._close)
        return self._session

    def _close(self) -> None:
        if self._session is not None:
            loop.run(self._session.close(), timeout_s=5)


def _followed(url: HttpUrl, location: str, uri: str) -> HttpUrl:
    try:
        return url.follow(location)
    except ValueError as error:
        raise BadUriError(
            f"{printable(uri)} does not lead to an http(s) address. Correct it in the table.", uri
        ) from error


def _headers(policy: ReadPolicy, url: HttpUrl, first: HttpUrl) -> Headers:
    """The user's headers for this request of several, which began with `first`."""
    _, host, port = url.origin
    return policy.headers.for_host(host, port, _same_place(url, first))


def _same_place(url: HttpUrl, first: HttpUrl) -> bool:
    """Whether `url` is on the host of `first`, or is its encrypted form: secrets may go there."""
    if url.origin == first.origin:
        return True
    (before, old_host, old_port), (after, new_host, new_port) = first.origin, url.origin
    ports = ((before, old_port), (after, new_port))
    return old_host == new_host and ports == _DEFAULT_PORTS
