"""Restricts URLs found in tables to public network addresses, against server-side request forgery.

Catalogs are untrusted: without this check one row could make a worker fetch a cloud's metadata service or an intranet
page. Host names are checked while they are resolved, and the connection goes to exactly the addresses that passed, so
DNS rebinding (an answer that changes between check and connect) does not help an attacker.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from pipeline.errors import AddressRefusedError
from pipeline.storage.uris import printable

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
#: What `ipaddress` takes for public, some of it in some versions of Python alone: addresses at which clouds serve
#: metadata (192.0.0.192, 168.63.129.16), and those of a site in IPv6.
_INSIDE = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "168.63.129.16/32", "fec0::/10")))
#: `inet_aton` parses a host whose last label is a number as an address: 127.1, 2130706433, 0x7f000001.
_NUMERIC = re.compile(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)\.?", re.IGNORECASE | re.DOTALL)


class RefusedHostError(Exception):
    """The host has no public address. Not an OSError, which clients treat as a network failure and retry."""


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet. IPv4 embedded in IPv6 counts as that IPv4 address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inside = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in _NAT64:
            inside = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inside:
            ip = inside
    if any(ip in network for network in _INSIDE):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not ip.is_unspecified


def refuse_literal(url: URL) -> None:
    """Raise `RefusedHostError` if the URL's host is an address that is not public, or is not spelled canonically.

    Clients do not resolve addresses, and they disagree about which spellings are one.
    """
    host = url.raw_host or ""
    if (":" in host or _NUMERIC.fullmatch(host)) and not is_public(host):
        raise RefusedHostError(host)


class PublicResolver(AbstractResolver):
    """Resolves host names to their public addresses only."""

    def __init__(self, inner: AbstractResolver | None = None) -> None:
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Public addresses of `host`; `RefusedHostError` if it only has others."""
        found = await self._inner.resolve(host, port, family)
        public = [result for result in found if is_public(result["host"])]
        if found and not public:
            raise RefusedHostError(host)
        return public

    async def close(self) -> None:
        """Close the wrapped resolver."""
        await self._inner.close()


def refuse_host(host: str, allowed: Sequence[str], uri: str) -> None:
    """Raise `AddressRefusedError` unless `host` is one of `allowed`, in which `*.` stands for any subdomain."""
    name = host.lower().rstrip(".")
    for one in allowed:
        wanted = one.lower().rstrip(".")
        if name == wanted or (wanted.startswith("*.") and name.endswith(wanted[1:])):
            return
    if allowed:
        raise AddressRefusedError(f"{printable(uri)} leads to {host}, which is not one of the allowed hosts.", uri)


def refused(uri_text: str, uri: str, host: str) -> AddressRefusedError:
    """The error for a URL that leads to `host`."""
    return AddressRefusedError(
        f"{uri_text} leads to {host}, which is not public. Give --allow-private-hosts if you trust the table.",
        uri,
    )
