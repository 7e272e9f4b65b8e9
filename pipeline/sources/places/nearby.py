"""Looks around an address that holds no records: the nearest folder that exists, and what that holds.

A bucket has no folders: there a folder exists if an object is below it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice

from pipeline import storage
from pipeline.errors import NotFoundError, StorageError
from pipeline.sources.places.addresses import absent, nothing
from pipeline.sources.texts import decode_name

#: Objects of a folder that are listed for a message.
_MOST_OBJECTS = 2000
_SHOWN = 5
_PLAIN = re.compile(r"[*?\[{]")


def folder_exists(uri: str) -> bool:
    """Whether the folder at `uri` exists; true for http(s), where folders cannot be listed. Raises StorageError."""
    if storage.scheme(uri).startswith("http"):
        return True
    if storage.is_local(uri):
        return os.path.isdir(storage.normalise(uri))
    try:
        return next(storage.list_objects(uri, nothing), None) is not None
    except NotFoundError:
        return False


def check_local(uris: Iterable[str]) -> None:
    """Raise SourceError for an address of this machine where nothing is: cheap, so before a model is downloaded."""
    for uri in uris:
        if storage.is_local(uri) and not storage.has_wildcards(uri) and not os.path.lexists(storage.normalise(uri)):
            missing = NotFoundError(f"{storage.printable(uri)} does not exist: check the name. {describe(uri)}", uri)
            raise absent(missing) from missing


def describe(uri: str) -> str:
    """What is at `uri` or near it, in a sentence or two; empty where nothing can be listed."""
    address = storage.normalise(uri)
    if storage.scheme(address).startswith("http"):
        return ""
    with suppress(StorageError):
        if not _PLAIN.search(address) and folder_exists(address):
            return f"{storage.printable(address)} exists and holds {_kinds(address)}."
        return _near(address)
    return ""


def _near(address: str) -> str:
    folder = _nearest(address)
    if not folder:
        return ""
    held = _names(folder)
    wanted = address[len(folder) :].strip("/").partition("/")[0]
    shown = ", ".join(held[:_SHOWN]) + (f" and {len(held) - _SHOWN:,} more" if len(held) > _SHOWN else "")
    close = get_close_matches(wanted, held, n=3, cutoff=0.7)
    maybe = f" Did you mean {' or '.join(storage.join(folder, name) for name in close)}?" if close else ""
    return (
        f"Looked for {storage.printable(address)}; the nearest folder that exists is {storage.printable(folder)}, "
        f"which holds {shown or 'nothing'}.{maybe}"
    )


def _nearest(address: str) -> str:
    """The deepest existing folder above `address`, or above its first wildcard; empty if there is none."""
    folder = storage.fixed_folder(address)
    while not folder.endswith(":/"):  # above a bucket there is nothing
        if folder_exists(folder):
            return folder
        above = storage.parent(folder)
        if above == folder:
            return ""
        folder = above
    return ""


def _names(folder: str) -> list[str]:
    """Names directly in a folder, sorted; of a large one only some."""
    if storage.is_local(folder):
        with suppress(OSError), os.scandir(folder) as found:
            seen = islice(found, _MOST_OBJECTS)
            return sorted(decode_name(entry.name) for entry in seen if not entry.name.startswith("."))
        return []
    return sorted({storage.relative(uri, folder).partition("/")[0] for uri in _objects(folder)})


def _kinds(folder: str) -> str:
    """`3 .pdf, 1 .docx`, the commonest first."""
    suffixes = Counter(
        os.path.splitext(decode_name(storage.name(uri)))[1] or "without suffix" for uri in _objects(folder)
    )
    return ", ".join(f"{count:,} {suffix}" for suffix, count in suffixes.most_common(_SHOWN)) or "no files"


def _objects(folder: str) -> Iterator[str]:
    with suppress(NotFoundError):
        yield from (info.uri for info in islice(storage.list_objects(folder, nothing), _MOST_OBJECTS))
