"""Decides the format of a source (`--format auto`) from the names of its files, and lists a format's files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import get_args

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import EmptySourceError, NotFoundError, SourceError
from pipeline.sources.names import is_folder, is_weak, kind_of, why_not
from pipeline.sources.places.addresses import absent, addresses, entries, is_match
from pipeline.sources.registry import formats
from pipeline.sources.skipped import SkipTally
from pipeline.sources.texts import decode_path
from pipeline.vocabulary import Skip, SourceKind

_PEEK = 2000
*_SOME, _LAST = get_args(SourceKind)
_CURE = f"Choose what to read with --format {', '.join(_SOME)} or {_LAST}."


def detect(config: SourceConfig, out: str = "") -> SourceKind:
    """The format of the source as a whole, from the names of its first files.

    Raises:
        SourceError: nothing known is there, or several formats are.
    """
    if not config.uris:
        raise SourceError("No source was given. Name a folder, tars or tables.")
    if config.format != "auto":
        return config.format
    if config.inventory is not None:
        return "folder"
    kinds = {kind for uri in config.uris for kind in _kinds(uri, out)}
    if not kinds:
        known = ", ".join(known.plural for known in formats().values())
        cure = "Images need a suffix such as .jpg, or a table that names them."
        raise EmptySourceError(f"Nothing to embed was found in {', '.join(config.uris)}: no {known}, no texts. {cure}")
    if len(kinds) > 1:
        held = " and ".join(sorted(formats()[kind].plural for kind in kinds))
        raise SourceError(f"{', '.join(config.uris)} holds {held}. {_CURE}")
    return kinds.pop()


def kind_of_container(container: str | None) -> SourceKind | None:
    """The format of a planned record, as far as its container decides it alone; a record without one is a file."""
    if container is None:
        return "folder"
    shared = any(container.lower().endswith(known.shared) for known in formats().values())
    return None if shared else kind_of(container)


def _kinds(uri: str, out: str) -> set[SourceKind]:
    """Formats of the first files of one address; texts and then JSON count only where there is nothing else."""
    found = list(addresses([uri], out))
    names = list(islice((name for _, address in found for name in _peek(uri, address, out)), _PEEK))
    for known in formats().values():
        if known.recognises and known.recognises(storage.normalise(uri), names):
            return {known.name}
    telling = [name for name in names if not is_weak(name)]
    for some in ([name for name in telling if not name.endswith(".txt")], telling, names):
        kinds = {kind for name in some if (kind := kind_of(name))}
        if kinds:
            return kinds
    return set()


def _peek(uri: str, address: str, out: str) -> Iterator[str]:
    if kind_of(address) and not is_folder(address):
        yield address
        return
    yield from (entry.uri for entry in entries(address, out, matched=is_match(uri, address)))


def files_of(
    config: SourceConfig, kind: SourceKind, out: str = "", tally: SkipTally | None = None
) -> list[tuple[storage.ObjectInfo, str]]:
    """Every file of a format, sorted by URI, with its name relative to the address that led to it.

    Args:
        config: the source.
        kind: the format.
        out: nothing below it is listed.
        tally: counts the other files.

    Raises:
        SourceError: there is none.
    """
    found: dict[str, tuple[storage.ObjectInfo, str]] = {}
    weak: set[str] = set()
    tally = SkipTally() if tally is None else tally
    for uri, address in addresses(config.uris, out):
        is_file = kind_of(address) == kind and not is_folder(address)
        base = storage.fixed_folder(uri) if is_file else address
        for info in _files(address, out, tally, is_match(uri, address), config if is_file else None):
            if kind_of(info.uri) == kind:
                name = decode_path(storage.relative(info.uri, base))
                weak.update([info.uri] if is_weak(info.uri) and not is_file else [])
                found.setdefault(info.uri, (info._replace(uri=storage.storable(info.uri)), name))
            elif (why := why_not(info.uri)) is not Skip.OTHER_FORMAT or kind != "table":
                # The images beside a table are usually those that it names.
                tally.add(why, info.uri)
    if not found:
        raise EmptySourceError(f"No {formats()[kind].plural} were found in {', '.join(config.uris)}. {_CURE}")
    return [found[uri] for uri in sorted(found) if uri not in weak or len(weak) == len(found)]


def _files(
    address: str, out: str, tally: SkipTally, matched: bool, config: SourceConfig | None
) -> Iterator[storage.ObjectInfo]:
    """The entries of an address; a file, which has `config`, is found with one request instead of a listing."""
    if config is None:
        yield from entries(address, out, tally.add, matched)
        return
    try:
        yield storage.stat(address, storage.ReadPolicy.of_listings(config))
    except NotFoundError as error:
        if not matched:
            raise absent(error) from error
        tally.add(Skip.VANISHED, address)
