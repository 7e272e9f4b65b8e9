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
        hosts: names under which a server without keys is addressed; empty: any. A web page elsewhere that points its
            own name to this machine would otherwise let its visitors' browsers ask.
    """

    def __init__(self, keys: Keyring | None, rates: KeyRates, hosts: tuple[str, ...] = ()) -> None:
        self._keys, self._rates, self._hosts = keys, rates, hosts

    def admit(self, headers: Mapping[str, str], is_open: bool = False) -> tuple[str | None, Mapping[str, str]]:
        """The name of the key, and headers for the answer.

        Args:
            headers: of the request.
            is_open: it asks for no data, and needs no key.

        Raises:
            ApiError: the request may not be answered.
        """
        if self._hosts and _host(headers.get("host", "")) not in self._hosts:
            message = f"This server answers requests to {', '.join(self._hosts)} alone. Start it with --api-keys."
            raise ApiError(403, ErrorCode.HOST_NOT_ALLOWED, message)
        if self._keys is None or is_open:
            return None, {}
        scheme, _, given = headers.get("authorization", "").partition(" ")
        key = self._keys.owner(given.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            message = "The request has no valid API key. Send one as 'Authorization: Bearer KEY'."
            raise ApiError(401, ErrorCode.INVALID_API_KEY, message, headers={"WWW-Authenticate": "Bearer"})
        return key.name, self._rates.take(key.name, key.requests_per_s)


def _host(header: str) -> str:
    """The host without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()
