"""Parses, joins and compares addresses of objects: local paths and URLs. Nothing is opened.

A local path is absolute after `normalise`; bytes of a name that are not UTF-8 are surrogates there, as everywhere in
Python. `storable` is the form of it that a table can hold: `file:///photos/%D6%D0.jpg`. In a URL everything after the
bucket is the key, byte for byte: `#`, `%` and `?` are ordinary characters. An http(s) URL goes to the server unchanged.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote_to_bytes

from pipeline.credentials import without_credentials

OBJECT_SCHEMES = frozenset({"s3", "s3a", "gs", "gcs", "az"})
HTTP_SCHEMES = frozenset({"http", "https"})
_HOST_END = re.compile(r"[/?#]")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_ORDINARY = "".join(sign for sign in map(chr, range(0x20, 0x7F)) if sign != "%")


def scheme(uri: str) -> str:
    """Lower-case scheme of a URL; `file` for local paths."""
    found = _SCHEME.match(uri)
    return found.group(1).lower() if found else "file"


def is_local(uri: str) -> bool:
    """Whether `uri` is a path on this machine."""
    return scheme(uri) == "file"


def is_bucket(uri: str) -> bool:
    """Whether `uri` lies in an object store, which has no folders."""
    return scheme(uri) in OBJECT_SCHEMES


def normalise(uri: str) -> str:
    """Local paths become absolute with `~` expanded and `file://` stripped; URLs lose trailing slashes."""
    if not is_local(uri):
        return uri if scheme(uri) in HTTP_SCHEMES else uri.rstrip("/")
    if uri.lower().startswith("file://"):
        uri = os.fsdecode(unquote_to_bytes(os.fsencode(uri[len("file://") :].removeprefix("localhost"))))
    return os.path.abspath(os.path.expanduser(uri))


def storable(uri: str) -> str:
    """`uri` itself; a local path that is not UTF-8 as a file:// URL, of which `normalise` makes the same path."""
    try:
        uri.encode()
    except UnicodeEncodeError:
        return "file://" + "/".join(map(_escaped, uri.split("/")))
    return uri


def _escaped(segment: str) -> str:
    try:
        segment.encode()
        return segment.replace("%", "%25")
    except UnicodeEncodeError:
        return quote(_bytes_of(segment), safe=_ORDINARY)


def _bytes_of(name: str) -> bytes:
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:  # half of a surrogate pair, which no name on a disk has
        return name.encode("utf-8", "surrogatepass")


def join(base: str, *parts: str) -> str:
    """`base` and `parts` with single slashes between them."""
    return "/".join([base.rstrip("/"), *(part.strip("/") for part in parts)])


def parent(uri: str) -> str:
    """The folder that holds `uri`."""
    return uri.rstrip("/").rpartition("/")[0] or "/"


def relative(uri: str, base: str) -> str:
    """`uri` relative to the folder `base`; its last segment if it is not below."""
    folder = base.rstrip("/") + "/"
    return uri[len(folder) :] if uri.startswith(folder) else name(uri)


def real(uri: str) -> str:
    """One spelling for each place: `normalise`, and of a local path the one without symbolic links."""
    uri = normalise(uri)
    return os.path.realpath(uri) if is_local(uri) else uri


def is_inside(uri: str, folder: str) -> bool:
    """Whether `uri` is `folder` or lies below it, whatever symbolic links lead there."""
    return f"{real(uri)}/".startswith(f"{real(folder).rstrip('/')}/")


def name(uri: str) -> str:
    """The last segment of `uri`; of an http(s) URL without its query."""
    path = _without_query(uri).partition("://")[2].partition("/")[2] if scheme(uri) in HTTP_SCHEMES else uri
    return path.rstrip("/").rpartition("/")[2]


def split_bucket(uri: str) -> tuple[str, str]:
    """Bucket (or container, or host) and key of a URL."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key


def web_host(uri: str) -> str:
    """Host and port of an http(s) URL, with the user if it has one; "" for every other address."""
    return _HOST_END.split(uri.partition("://")[2], 1)[0].lower() if scheme(uri) in HTTP_SCHEMES else ""


def printable(uri: str) -> str:
    """`uri` for a message, without secrets: an http(s) URL loses its user, query and fragment."""
    if scheme(uri) not in HTTP_SCHEMES:
        bare = without_credentials(uri)
        return storable(bare) if is_local(uri) else bare
    kind, _, rest = _without_query(uri).partition("://")
    host, slash, path = rest.partition("/")
    return f"{kind.lower()}://{host.rpartition('@')[2]}{slash}{path}"


def _without_query(uri: str) -> str:
    return uri.partition("#")[0].partition("?")[0]
