"""Finds objects: one by name, everything under a folder, or the matches of a pattern."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain

from pipeline.errors import EmptySourceError, NoBucketError, NotFoundError, SourceError, StorageError, UnavailableError
from pipeline.storage.backends.contract import ObjectInfo, OnSkip
from pipeline.storage.backends.open import backend_for
from pipeline.storage.backends.s3_session import s3_environment
from pipeline.storage.client_errors import translated
from pipeline.storage.policy import DEFAULT_POLICY, ReadPolicy, with_retries
from pipeline.storage.uris import HTTP_SCHEMES, is_inside, is_local, normalise, parent, real, scheme
from pipeline.vocabulary import Skip

_GLOB = re.compile(r"[*?\[]")
_BRACKET = re.compile(r"\[")
_MAGIC = re.compile(r"[*?\[{]")
_STARS = re.compile(r"\*{2,}")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"^(\d+)\.\.(\d+)$")
#: A segment with a leading dot. The segments `.` and `..` are ordinary in the key of an object.
_HIDDEN = re.compile(r"/\.(?!\.?(?:/|$))")
_STAGED = re.compile(r"#\d+$")


def stat(uri: str, policy: ReadPolicy = DEFAULT_POLICY) -> ObjectInfo:
    """Size and fingerprint of one object.

    Raises:
        NotFoundError: it does not exist, or is a folder.
        StorageError: the store refused or is unreachable.
    """
    uri = normalise(uri)

    def attempt() -> ObjectInfo:
        with translated(uri):
            return backend_for(uri).stat(uri, policy)

    return with_retries(attempt, policy)


def exists(uri: str, policy: ReadPolicy = DEFAULT_POLICY) -> bool:
    """Whether an object of this name exists; False for folders."""
    try:
        stat(uri, policy)
    except NotFoundError:
        return False
    return True


def find_local(path: str) -> ObjectInfo | None:
    """Size and fingerprint of a local file, None if there is none: one system call without retries."""
    try:
        return backend_for(path).stat(path, DEFAULT_POLICY)
    except OSError:
        return None


def list_objects(uri: str, skip: OnSkip | None = None) -> Iterator[ObjectInfo]:
    """Every object under `uri`, streamed, in the store's order; the object itself when `uri` is one.

    Hidden names (a leading dot) and unfinished uploads (`name#1`) are left out.

    Args:
        uri: a folder or an object.
        skip: takes each entry that is left out. With it, an entry that cannot be read is left out as well.

    Raises:
        NotFoundError: nothing exists there. An empty local folder does exist, and yields nothing.
        StorageError: the store refused or is unreachable; without `skip` also that an entry cannot be read.
    """
    uri = normalise(uri)
    if scheme(uri) in HTTP_SCHEMES or (is_local(uri) and not os.path.isdir(uri)):
        yield stat(uri)
        return
    entries = iter(backend_for(uri).walk(uri, skip))
    with translated(uri):
        first = next(entries, None)
    if first is None:
        yield from _nothing_below(uri)
        return
    with translated(uri):
        yield from listable(chain((first,), entries), uri, skip)


def listable(entries: Iterable[ObjectInfo], uri: str, skip: OnSkip | None = None) -> Iterator[ObjectInfo]:
    """Those of the entries below `uri` that a listing has: no hidden names, and no unfinished uploads."""
    for entry in entries:
        kind = _left_out(entry.uri, len(uri))
        if kind is None:
            yield entry
        elif skip is not None:
            skip(kind, entry.uri)


def _nothing_below(uri: str) -> Iterator[ObjectInfo]:
    if not is_local(uri):
        yield stat(uri)


def _left_out(uri: str, base: int) -> Skip | None:
    """Why an object is not listed, from the part of its address after `base`."""
    if uri.find("/.", base) >= 0 and _HIDDEN.search(uri, base):
        return Skip.HIDDEN
    return Skip.UNFINISHED if "#" in uri and _STAGED.search(uri) else None


def expand(uris: Iterable[str]) -> list[str]:
    """Addresses with braces (`{000..009}`, `{a,b}`) and globs (`*`, `?`, `[...]`, `**`) expanded.

    Each address comes once, the matches of a pattern sorted. Plain addresses are not checked. Pattern characters in the
    names of folders and objects that exist are ordinary characters, such as `s3://bucket/photos [2024]/*.tar`.

    Raises:
        EmptySourceError: a pattern matches nothing.
        StorageError: the store refused or is unreachable.
    """
    found: dict[str, None] = {}
    for uri in uris:
        address = normalise(uri)
        for filled in _fill_braces(address, len(_literal(address))):
            found.update(dict.fromkeys(_glob(filled)))
    return list(found)


def fixed_folder(pattern: str) -> str:
    """The deepest folder that contains every match of a pattern; for a plain address its parent folder."""
    address = normalise(pattern)
    literal = _literal(address)
    return (literal if literal != address else parent(address)) or "/"


def would_have(pattern: str, uri: str) -> bool:
    """Whether what is at `uri`, or will be, is at or below an address, or what a pattern matches."""
    address = normalise(pattern)
    return any(_has(filled, uri) for filled in _fill_braces(address, len(_literal(address))))


def _has(pattern: str, uri: str) -> bool:
    folder = _literal(pattern, _GLOB) if scheme(pattern) not in HTTP_SCHEMES else pattern
    if folder == pattern or not is_inside(uri, folder):
        return is_inside(uri, folder)
    matches = _matcher(pattern[len(folder) + 1 :]).match
    names = real(uri)[len(real(folder)) :].strip("/").split("/")
    return any(matches("/".join(names[:depth])) for depth in range(1, len(names) + 1))


def has_wildcards(pattern: str) -> bool:
    """Whether addresses are found by matching names. Braces alone only abbreviate several addresses."""
    address = normalise(pattern)
    return bool(_GLOB.search(address, len(_literal(address)))) and scheme(address) not in HTTP_SCHEMES


def _literal(address: str, magic: re.Pattern[str] = _MAGIC, maybe: re.Pattern[str] = _MAGIC) -> str:
    """The beginning of an address, up to the first segment that is a pattern; a name that exists is none.

    Args:
        address: may have patterns.
        magic: finds the characters of patterns.
        maybe: finds those that names may have too; without one, nobody is asked whether the name exists.
    """
    segments = address.split("/")
    for place, segment in enumerate(segments):
        if magic.search(segment) and not (maybe.search(segment) and _is_there("/".join(segments[: place + 1]))):
            return "/".join(segments[:place])
    return address


def _is_there(address: str) -> bool:
    """Whether an object or a folder has exactly this name. Where that is unknown, such as on http, it has not."""
    if is_local(address):
        return os.path.lexists(address)
    return scheme(address) not in HTTP_SCHEMES and _is_in_store(address, s3_environment())


@lru_cache(maxsize=256)
def _is_in_store(address: str, _environment: tuple[str | None, ...]) -> bool:
    try:
        return next(list_objects(address), None) is not None
    except UnavailableError:
        raise
    except StorageError:  # nothing is there, or the credentials do not allow to look
        return False


def _fill_braces(pattern: str, literal: int) -> list[str]:
    """All choices of the braces after the first `literal` characters."""
    braces = _BRACES.search(pattern, literal)
    if not braces:
        return [pattern]
    head, tail = pattern[: braces.start()], pattern[braces.end() :]
    return [filled for choice in _choices(braces.group(1)) for filled in _fill_braces(head + choice + tail, literal)]


def _choices(inside: str) -> list[str]:
    ends = _RANGE.match(inside)
    if not ends:
        return inside.split(",")
    first, last = ends.groups()
    width = max((len(end) for end in (first, last) if end.startswith("0")), default=0)
    start, stop = int(first), int(last)
    numbers = range(start, stop + 1) if start <= stop else range(start, stop - 1, -1)  # counts down, as in a shell
    return [str(number).zfill(width) for number in numbers]


def _glob(pattern: str) -> list[str]:
    if scheme(pattern) in HTTP_SCHEMES or not _GLOB.search(pattern):
        return [pattern]
    # Names with `[` are common and names with `*` are not, so only the former are worth a request for each brace.
    folder = _literal(pattern, _GLOB, _GLOB if is_local(pattern) else _BRACKET)
    if folder == pattern:
        return [pattern]
    rest = pattern[len(folder) + 1 :]
    if is_local(pattern):
        found = sorted(glob.glob(f"{glob.escape(folder)}/{rest}", recursive=True))
    else:
        found = _match(folder, rest)
    if not found:
        raise EmptySourceError(f"The pattern {pattern} matches nothing. Check it, and quote it for the shell.")
    return found


def _matcher(pattern: str) -> re.Pattern[str]:
    """Matches the names that a pattern has in a store without folders, relative to where it begins."""
    from fsspec.utils import glob_translate  # reading local and http sources never loads fsspec

    segments = (segment if segment == "**" else _STARS.sub("*", segment) for segment in pattern.split("/"))
    return re.compile(glob_translate("/".join(segments)))


def _match(folder: str, pattern: str) -> list[str]:
    """Objects and folders below `folder` that match a pattern, in a store without folders."""
    matches, segments = _matcher(pattern).match, pattern.split("/")
    depth = None if "**" in segments else len(segments)
    start = len(folder) + 1
    try:
        below = ("/".join(entry.uri[start:].split("/")[:depth]) for entry in list_objects(folder))
        return sorted({f"{folder}/{name}" for name in below if matches(name)})
    except NoBucketError as error:
        raise SourceError(str(error)) from error
    except NotFoundError:
        return []
