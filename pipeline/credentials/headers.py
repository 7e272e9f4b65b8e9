"""Headers of http(s) requests: parses what users give, and takes secret values from the environment.

In: lines such as `Referer: https://host/`, `Authorization: env:TOKEN` and, for one host alone,
`Cookie@img.host: env:COOKIES`. Out: `HttpHeaders`, from which each request takes what its host may see. Configurations,
plans and logs contain the lines, and so the names of variables, never their values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from pipeline.credentials.addresses import refuse_credentials
from pipeline.credentials.names import is_secret_header, secret_header
from pipeline.errors import ConfigError

#: A variable's name after this stands for the value.
_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_LINE = re.compile(
    r"(?P<name>[A-Za-z0-9!#$%&'*+.^_`|~-]+)"
    r"(@(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/@:\[]+)(?P<port>:\d+)?)?:[ \t]*(?P<value>.*)",
    re.DOTALL,
)
_CONTROL = re.compile(r"[\0-\x08\n-\x1f\x7f]")
#: hanclip sets these itself; another value would break the reading of bodies and ranges.
_OWN = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "host", "range", "te", "transfer-encoding", "upgrade"}
)


@dataclass(frozen=True, slots=True)
class HeaderLine:
    """One line as the user gives it.

    Attributes:
        name: as written.
        host: the only host, with or without a port, that it is sent to, as it is looked up; None for all.
        value: the value, unless it comes from the environment.
        variable: the environment variable with the value.
    """

    name: str
    host: str | None
    value: str
    variable: str | None


@dataclass(frozen=True, slots=True)
class _Header:
    name: str
    host: str | None
    value: str = field(repr=False)
    secret: bool


@dataclass(frozen=True, slots=True)
class HttpHeaders:
    """Headers with their values, none of which is ever printed."""

    _headers: tuple[_Header, ...] = ()

    @classmethod
    def of(cls, lines: Iterable[str], environment: Mapping[str, str] = os.environ) -> HttpHeaders:
        """The headers of the user's lines.

        Raises:
            ConfigError: a variable is not set, or its value cannot be sent.
        """
        return cls(tuple(_header(parse_header(line), environment) for line in lines))

    def for_host(self, host: str, port: int | None, first: bool) -> list[tuple[str, str]]:
        """What a request to `host` is sent with.

        Args:
            host: as it is looked up; an IPv6 address without brackets.
            port: its port.
            first: this is the host that the user's data names, and not one that it redirects to; only that one gets
                secrets.
        """
        name = f"[{host}]" if ":" in host else host.lower()
        places = {None, name, f"{name}:{port}"}
        return [(one.name, one.value) for one in self._headers if one.host in places and (first or not one.secret)]


@dataclass(frozen=True, slots=True)
class HeaderVariables:
    """Environment variables that headers refer to, on their way from the driver to other machines."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, lines: Iterable[str]) -> HeaderVariables:
        """Those that are set in this process."""
        named = (parse_header(line).variable for line in lines)
        return cls({name: os.environ[name] for name in named if name and name in os.environ})

    def install(self) -> None:
        """Set them in this process."""
        os.environ.update(self.values)


def parse_header(line: str) -> HeaderLine:
    """Parse a line.

    Raises:
        ValueError: it is no header, or it has a secret in the clear; the message does not repeat the value.
    """
    found = _LINE.fullmatch(line.strip())
    if not found or _CONTROL.search(found["value"]):
        raise ValueError("a header is written as 'Name: value', for one host as 'Name@host: value'")
    name, value = found["name"], found["value"].strip()
    if name.lower() in _OWN:
        raise ValueError(f"hanclip sets the header {name} itself: leave it out")
    variable = _VARIABLE.fullmatch(value)
    if variable is None and is_secret_header(name):
        raise secret_header(name)
    refuse_credentials(value)
    host = _looked_up(found["host"]) + (found["port"] or "") if found["host"] else None
    return HeaderLine(name, host, "" if variable else value, variable[1] if variable else None)


def _looked_up(host: str) -> str:
    """The host as requests have it: an IPv6 address at its shortest, a name in ASCII."""
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1]).compressed}]"
        return host.lower().encode("idna").decode()
    except ValueError as error:
        raise ValueError(f"{host!r} is no host: write 'Name@host: value', such as 'Cookie@img.example: ...'") from error


def _header(line: HeaderLine, environment: Mapping[str, str]) -> _Header:
    if line.variable is None:
        return _Header(line.name, line.host, line.value, secret=False)
    value = environment.get(line.variable, "").strip()
    if not value:
        raise ConfigError(
            f"The environment variable {line.variable}, which the header {line.name} needs, is not set. Set it where "
            "the run's driver starts."
        )
    if _CONTROL.search(value):
        raise ConfigError(
            f"The environment variable {line.variable} has control characters, which the header {line.name} cannot "
            "have. Correct it."
        )
    return _Header(line.name, line.host, value, secret=True)


def header_lines(lines: Iterable[str]) -> Iterator[str]:
    """The same lines, checked; ValueError as from `parse_header`."""
    for line in lines:
        parse_header(line)
        yield line.strip()
