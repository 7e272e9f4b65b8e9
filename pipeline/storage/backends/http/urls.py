"""Parses http(s) URLs so that the server receives them as they were written.

In: a URL, or a redirect's `Location` with the URL that it came from. Out: an `HttpUrl`. What is percent-encoded stays
byte for byte, because a signature may cover it, and so do dot segments, empty segments and an empty query. Only what a
URL cannot contain (blanks, control characters, non-ASCII, quotes, a lone `%`, ...) is quoted, as UTF-8.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from yarl import URL

#: The parts of a reference as RFC 3986 splits it; the fragment is not sent.
_PARTS = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?(?://(?P<authority>[^/?#]*))?(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?",
    re.DOTALL,
)
_HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:%-]+")
_ILLEGAL = re.compile(r"%(?![0-9A-Fa-f]{2})|[^!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """One http(s) URL.

    Attributes:
        scheme: http or https.
        authority: host, with user and port if it has them, in ASCII.
        path: quoted; it begins with a slash.
        query: quoted, without its question mark; None if there is none, which differs from an empty one.
    """

    scheme: str
    authority: str
    path: str
    query: str | None

    @classmethod
    def parse(cls, text: str) -> HttpUrl:
        """Parse an absolute URL; ValueError if it has another scheme or no valid host."""
        parts = _split(text)
        scheme = (parts["scheme"] or "").lower()
        if scheme not in ("http", "https") or not parts["authority"]:
            raise ValueError("not an absolute http(s) URL")
        return cls(scheme, _ascii(scheme, parts["authority"]), _rooted(parts["path"] or ""), parts["query"])

    def follow(self, location: str) -> HttpUrl:
        """The URL that a redirect from here leads to; ValueError as from `parse`."""
        parts = _split(location.strip())
        if parts["scheme"] is not None:
            return self.parse(location.strip())
        if parts["authority"] is not None:
            return self.parse(f"{self.scheme}:{location.strip()}")
        path, query = parts["path"] or "", parts["query"]
        if not path:
            return HttpUrl(self.scheme, self.authority, self.path, self.query if query is None else query)
        if not path.startswith("/"):
            path = f"{self.path.rpartition('/')[0]}/{path}"
        return HttpUrl(self.scheme, self.authority, _without_dots(path), query)

    @property
    def target(self) -> str:
        """What the request line has: path and query."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def origin(self) -> tuple[str, str, int | None]:
        """Scheme, host and port, which decide who may see credentials."""
        sent = self.sent
        return self.scheme, sent.raw_host or "", sent.port

    @property
    def sent(self) -> URL:
        """The same for aiohttp, which must not split the target again: an empty query would be lost."""
        return URL.build(scheme=self.scheme, authority=self.authority, path=self.target, encoded=True)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def _split(text: str) -> dict[str, str | None]:
    found = _PARTS.match(text)
    assert found, "every part is optional"
    parts: dict[str, str | None] = found.groupdict()
    return {**parts, "path": _quote(parts["path"]), "query": _quote(parts["query"])}


def _quote(text: str | None) -> str | None:
    """`text` with its illegal characters quoted. Bytes of a header that are not UTF-8 come as surrogates, and stay."""
    return text and _ILLEGAL.sub(_percent, text)


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape"))


def _ascii(scheme: str, authority: str) -> str:
    """The authority with an international or percent-encoded host in the form that is looked up."""
    user, at, host = authority.rpartition("@")
    url = URL(f"{scheme}://{user}{at}{host if host.startswith('[') else unquote(host, errors='strict')}/")
    if not _HOST.fullmatch(url.raw_host or "") or url.raw_path != "/":
        raise ValueError("not a host")
    return url.raw_authority


def _rooted(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def _without_dots(path: str) -> str:
    """A relative redirect's path with `.` and `..` resolved; empty segments stay."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if segments[-1] in (".", "..") and kept else "")
