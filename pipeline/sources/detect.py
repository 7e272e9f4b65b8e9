"""Which file is what, by its name: images, texts, tars, tables. And `auto`: what the whole source is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import EmptySourceError, NotFoundError, SourceError
from pipeline.sources.addresses import absent, addresses, entries
from pipeline.sources.base import Kind
from pipeline.sources.chinese_clip.holdings import is_chinese_clip
from pipeline.sources.names import is_folder, kind_of

_PEEK = 2000
_CURE = "Say what to read with --format folder, webdataset, table or chinese-clip."


def detect(config: SourceConfig, out: str = "") -> Kind:
    """The kind of the source as a whole, from the names of its first files.

    Raises:
        SourceError: nothing known is there, or several kinds are.
    """
    if not config.uris:
        raise SourceError("No source was given. Name a folder, tars or tables.")
    if config.format != "auto":
        return config.format
    kinds = {kind for uri in config.uris for kind in _kinds(uri, out)}
    if not kinds:
        raise EmptySourceError(
            f"Nothing to embed was found in {', '.join(config.uris)}: no images, tars, tables or texts."
        )
    if len(kinds) > 1:
        raise SourceError(f"{', '.join(config.uris)} holds {' and '.join(sorted(map(_plural, kinds)))}. {_CURE}")
    return kinds.pop()


def _plural(kind: Kind) -> str:
    return {"folder": "images", "webdataset": "tars", "table": "tables", "chinese-clip": "Chinese-CLIP data"}[kind]


def _kinds(uri: str, out: str) -> set[Kind]:
    """Kinds among the first files of one address; texts count only where nothing else is."""
    found = list(addresses([uri], out))
    names = list(islice((entry for _, address in found for entry in _peek(address, out)), _PEEK))
    if is_chinese_clip(storage.normalise(uri), names):
        return {"chinese-clip"}
    kinds = {kind for name in names if not name.endswith(".txt") and (kind := kind_of(name))}
    return kinds or {kind for name in names if (kind := kind_of(name))}


def _peek(address: str, out: str) -> Iterator[str]:
    if kind_of(address) and not is_folder(address):
        yield address
        return
    yield from (entry.uri for entry in entries(address, out))


def files_of(config: SourceConfig, kind: Kind, out: str = "") -> list[tuple[storage.ObjectInfo, str]]:
    """Every container of the source, sorted, with its name relative to the address it was found by.

    Raises:
        SourceError: there is none.
    """
    found: dict[str, tuple[storage.ObjectInfo, str]] = {}
    for uri, address in addresses(config.uris, out):
        for info in _containers(address, kind, out):
            base = storage.fixed_folder(uri) if info.uri == address else address
            found.setdefault(info.uri, (info, storage.relative(info.uri, base)))
    if not found:
        raise EmptySourceError(f"No {_plural(kind)} were found in {', '.join(config.uris)}. {_CURE}")
    return [found[uri] for uri in sorted(found)]


def _containers(address: str, kind: Kind, out: str) -> Iterator[storage.ObjectInfo]:
    if kind_of(address) == kind and not is_folder(address):
        try:
            yield storage.stat(address)
        except NotFoundError as error:
            raise absent(error) from error
        return
    yield from (info for info in entries(address, out) if kind_of(info.uri) == kind)
