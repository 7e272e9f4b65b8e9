"""Lets requests in: by their key, or without keys only those that were meant for this machine."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.serving.access.keys import Keyring
from pipeline.serving.access.rates import KeyRates
from pipeline.serving.errors import ApiError, ErrorCode


class Gate:
    """Decides who may ask.

    Args:
        keys: None: everybody may.
        rates: of keys.
        hosts: names under which a server without keys is addressed, and under which pages that ask it are; empty: any.
            A web page elsewhere would otherwise let its visitors' browsers ask, by the name of this machine or by its
            own, which it points here.
    """

    def __init__(self, keys: Keyring | None, rates: KeyRates, hosts: tuple[str, ...] = ()) -> None:
        self._keys, self._rates, self._hosts = keys, rates, hosts
        self._known = frozenset(hosts)

    @property
    def asks_for_keys(self) -> bool:
        """Whether requests need one."""
        return self._keys is not None

    def admit(self, headers: Mapping[str, str], is_open: bool = False) -> tuple[str | None, Mapping[str, str]]:
        """The name of the key, and headers for the answer.

        Args:
            headers: of the request.
            is_open: it asks for no data, and needs no key.

        Raises:
            ApiError: the request may not be answered.
        """
        if self._hosts and not self._known.issuperset((_host(headers.get("host", "")), *_page(headers))):
            names = ", ".join(self._hosts)
            message = f"This server answers requests to {names} and of web pages there alone."
            cure = "Start it with --api-keys, or with --no-auth behind a proxy that decides who may ask."
            raise ApiError(403, ErrorCode.HOST_NOT_ALLOWED, f"{message} {cure}")
        if self._keys is None or is_open:
            return None, {}
        scheme, _, given = headers.get("authorization", "").partition(" ")
        key = self._keys.owner(given.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            message = "The request has no valid API key. Send one as 'Authorization: Bearer KEY'."
            raise ApiError(401, ErrorCode.INVALID_API_KEY, message, headers={"WWW-Authenticate": "Bearer"})
        return key.name, self._rates.take(key.name, key.requests_per_s)


def _page(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The host of the web page that asks; browsers name it in requests that may change something, and to others."""
    return (_host(headers["origin"].partition("://")[2]),) if "origin" in headers else ()


def _host(header: str) -> str:
    """The host without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()
