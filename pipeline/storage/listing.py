"""Finds objects: one by name, everything under a folder, or the matches of a pattern."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from pipeline.errors import EmptySourceError, NoBucketError, NotFoundError, SourceError
from pipeline.storage.backends.contract import ObjectInfo, OnSkip
from pipeline.storage.backends.open import backend_for
from pipeline.storage.client_errors import translated
from pipeline.storage.policy import DEFAULT_POLICY, ReadPolicy, with_retries
from pipeline.storage.uris import HTTP_SCHEMES, is_local, normalise, scheme
from pipeline.vocabulary import Skip

_MAGIC = re.compile(r"[*?\[]")
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
        for entry in chain((first,), entries):
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

    Each address comes once, the matches of a pattern sorted. Plain addresses are not checked.

    Raises:
        EmptySourceError: a pattern matches nothing.
        StorageError: the store refused or is unreachable.
    """
    found: dict[str, None] = {}
    for uri in uris:
        for pattern in _fill_braces(normalise(uri)):
            found.update(dict.fromkeys(_glob(pattern)))
    return list(found)


def fixed_folder(pattern: str) -> str:
    """The deepest folder that contains every match of a pattern; for a plain address its parent folder."""
    segments = normalise(pattern).split("/")
    plain = next((place for place, segment in enumerate(segments) if _MAGIC.search(segment) or "{" in segment), -1)
    return "/".join(segments[:plain]) or "/"


def _fill_braces(pattern: str) -> list[str]:
    braces = _BRACES.search(pattern)
    if not braces or (is_local(pattern) and os.path.exists(pattern)):
        return [pattern]
    head, tail = pattern[: braces.start()], pattern[braces.end() :]
    return [filled for choice in _choices(braces.group(1)) for filled in _fill_braces(head + choice + tail)]


def _choices(inside: str) -> list[str]:
    numbers = _RANGE.match(inside)
    if not numbers:
        return inside.split(",")
    first, last = numbers.groups()
    width = len(first) if first.startswith("0") else 0
    return [str(number).zfill(width) for number in range(int(first), int(last) + 1)]


def _glob(pattern: str) -> list[str]:
    if scheme(pattern) in HTTP_SCHEMES or not _MAGIC.search(pattern):
        return [pattern]
    if is_local(pattern):
        found = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
    else:
        found = _match(pattern)
    if not found:
        raise EmptySourceError(f"The pattern {pattern} matches nothing. Check it, and quote it for the shell.")
    return found


def _match(pattern: str) -> list[str]:
    """Objects and folders that match a pattern in a store without folders."""
    from fsspec.utils import glob_translate  # local and http sources never load fsspec

    segments = [segment if segment == "**" else _STARS.sub("*", segment) for segment in pattern.split("/")]
    plain = next(position for position, segment in enumerate(segments) if _MAGIC.search(segment))
    matches = re.compile(glob_translate("/".join(segments))).match
    depth = None if "**" in segments else len(segments)
    try:
        below = ("/".join(entry.uri.split("/")[:depth]) for entry in list_objects("/".join(segments[:plain])))
        return sorted({uri for uri in below if matches(uri)})
    except NoBucketError as error:
        raise SourceError(str(error)) from error
    except NotFoundError:
        return []
