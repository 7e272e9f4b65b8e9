"""Expands and lists a source's addresses, without the output folder: nothing below OUT is ever a record.

In: addresses as given, and OUT, which is often inside a source's folder. Out: folders, files and their entries.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from pipeline import storage
from pipeline.errors import EmptySourceError, ForbiddenError, NoBucketError, NotFoundError, SourceError
from pipeline.vocabulary import Skip

#: Everything below an address; the function takes what it leaves out.
ListBelow = Callable[[str, storage.OnSkip], Iterator[storage.ObjectInfo]]


def addresses(uris: Sequence[str], out: str) -> Iterator[tuple[str, str]]:
    """Each expanded address after the pattern that it came from; matches below `out` are left out.

    Raises:
        SourceError: a plain address is `out` or inside it, or a pattern matches nothing.
    """
    for uri in uris:
        for address in storage.expand([uri]):
            if not (out and storage.is_inside(address, out)):
                yield uri, address
            elif address == storage.normalise(uri):
                raise SourceError(
                    f"The source {uri} is inside the output folder {out}, which is hanclip's own. "
                    "Choose an OUT outside the source, or a new folder in it."
                )


def is_match(uri: str, address: str) -> bool:
    """Whether `address` was found by the wildcards of `uri`, and was not named by the user."""
    return address != storage.normalise(uri) and storage.has_wildcards(uri)


def nothing(kind: Skip, uri: str) -> None:
    """Does not count what is left out."""


def entries(
    address: str,
    out: str,
    skip: storage.OnSkip = nothing,
    matched: bool = False,
    listing: ListBelow = storage.list_objects,
) -> Iterator[storage.ObjectInfo]:
    """Everything below a folder except what is below `out`; a file is its own entry.

    Args:
        address: a folder or a file.
        out: nothing below it is listed.
        skip: takes each entry that is left out because it is hidden, unfinished, unreadable or has vanished.
        matched: a pattern matched the address, so it is left out like an entry if it has vanished or is unreadable.
        listing: lists what is below an address.

    Raises:
        SourceError: the address is neither.
        StorageError: it cannot be read.
    """
    hidden = _hidden(address, out)

    def is_own(uri: str) -> bool:
        return hidden is not None and f"{uri}/".startswith(hidden)

    try:
        for info in listing(address, lambda kind, uri: None if is_own(uri) else skip(kind, uri)):
            if not is_own(info.uri):
                yield info
    except NotFoundError as error:
        if not matched:
            raise absent(error) from error
        skip(Skip.VANISHED, address)
    except ForbiddenError:
        if not (matched and storage.is_local(address)):
            raise
        skip(Skip.UNREADABLE_FOLDER if os.path.isdir(address) else Skip.UNREADABLE_FILE, address)


def absent(error: NotFoundError) -> SourceError:
    """The error for a missing address. A bucket has no folders, so there a missing one merely has no records."""
    empty = storage.is_bucket(error.uri) and not isinstance(error, NoBucketError)
    return EmptySourceError(str(error)) if empty else SourceError(str(error))


def _hidden(address: str, out: str) -> str | None:
    """OUT with a final slash, as the listing of `address` spells it; None if OUT is not inside."""
    if not (out and storage.is_inside(out, address)):
        return None
    below = storage.real(out)[len(storage.real(address)) :]
    return f"{address.rstrip('/')}/{below.strip('/')}/"
