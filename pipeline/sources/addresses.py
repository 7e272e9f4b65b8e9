"""What a source's addresses lead to, without what hanclip itself wrote: nothing below OUT is ever a record.

In: the addresses as given, and OUT, which often lies inside a source's folder. Out: folders, files and their entries.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from pipeline import storage
from pipeline.errors import EmptySourceError, NoBucketError, NotFoundError, SourceError


def addresses(uris: Sequence[str], out: str) -> Iterator[tuple[str, str]]:
    """Each address with the pattern that it came from; what a pattern matches below `out` is left out.

    Raises:
        SourceError: an address that is no pattern is `out` or lies in it, or a pattern matches nothing.
    """
    for uri in uris:
        for address in storage.expand([uri]):
            if not (out and _is_inside(_real(address), _real(out))):
                yield uri, address
            elif address == storage.normalise(uri):
                raise SourceError(
                    f"The source {uri} lies in the output folder {out}, which is hanclip's own. "
                    "Choose an OUT beside the source or inside it, such as a new folder in it."
                )


def entries(address: str, out: str) -> Iterator[storage.ObjectInfo]:
    """Everything below a folder but what lies below `out`; a file is its own entry. Raises SourceError for neither."""
    hidden = _hidden(address, out)
    try:
        for info in storage.list_objects(address):
            if hidden is None or not info.uri.startswith(hidden):
                yield info
    except NotFoundError as error:
        raise absent(error) from error


def absent(error: NotFoundError) -> SourceError:
    """What it means that an address holds nothing: in a bucket there are no folders, so it only holds no records."""
    empty = storage.is_bucket(error.uri) and not isinstance(error, NoBucketError)
    return EmptySourceError(str(error)) if empty else SourceError(str(error))


def _hidden(address: str, out: str) -> str | None:
    """How the listing of `address` spells OUT and the slash behind it; None when OUT is not in it."""
    here, there = _real(address), _real(out) if out else ""
    return f"{address.rstrip('/')}/{there[len(here) :].strip('/')}/" if there and _is_inside(there, here) else None


def _is_inside(uri: str, folder: str) -> bool:
    """Whether `uri` is `folder` or lies below it."""
    return f"{uri}/".startswith(f"{folder.rstrip('/')}/")


def _real(uri: str) -> str:
    """One spelling of each place, however links lead to it."""
    uri = storage.normalise(uri)
    return os.path.realpath(uri) if storage.is_local(uri) else uri
