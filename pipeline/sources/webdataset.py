"""Lists tars of samples: members that follow each other and share a key, as WebDataset writes them.

`<key>.<image suffix>` is the image, `<key>.txt` the text, the scalars of `<key>.json` further columns. A record's id is
its key. Only headers and .json members are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from typing import Any

import pyarrow as pa

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import SourceError
from pipeline.sources.base import Sink, SourceSpec, choose_extra
from pipeline.sources.formats import IMAGE_SUFFIXES, files_of
from pipeline.sources.records import RecordCollector
from pipeline.sources.tar import DamagedTarError, Member, decompressed, members
from pipeline.sources.values import Widening, json_object
from pipeline.storage import ObjectInfo

CAPTION_KEYS = ("caption", "text")

#: .json members read per tar to learn the columns: keys that come up later only are not carried.
_JSON_SAMPLE = 64
_TARS_AT_ONCE = 8
_SCAN_BUFFER_BYTES = 2**16


@dataclass(slots=True)
class _TarListing:
    """What one tar holds."""

    info: ObjectInfo
    samples: list[tuple[str, int, int, str | None]] = field(default_factory=list)
    values: list[dict[str, Any]] = field(default_factory=list)
    texts: int = 0
    ignored: int = 0
    damage: str = ""


def scan(config: SourceConfig, sink: Sink) -> SourceSpec:
    """List every sample of every tar.

    Raises:
        SourceError: no tar is found, one is no tar, or a column's name is taken.
        StorageError: a tar cannot be read.
    """
    collector, widening = RecordCollector(sink, config.limit), Widening()
    images = texts = ignored = 0
    notes: list[str] = []
    for listing in _listings(config):
        images += sum(image is not None for *_, image in listing.samples)
        texts, ignored = texts + listing.texts, ignored + listing.ignored
        notes += [f"{listing.info.uri} is damaged: {listing.damage}."] if listing.damage else []
        for values in listing.values:
            widening.see(values)
        _collect(listing, collector)
        if collector.full:
            break
    collector.flush()
    if not collector.rows:
        raise SourceError(f"The tars in {', '.join(config.uris)} hold no samples of images or texts. {_CURE}")
    notes += [f"{ignored:,} members of unknown kinds were left out."] if ignored else []
    caption_key = _caption_key(config, widening.schema(), texts > 0)
    found = pa.schema([column for column in widening.schema() if column.name != caption_key])
    extra = choose_extra(found, config)
    has_texts = texts > 0 or caption_key is not None
    return SourceSpec(
        "webdataset", config, images > 0, has_texts, extra, collector.rows, caption_key=caption_key, notes=tuple(notes)
    )


_CURE = "Members must be named <key>.jpg, <key>.txt, <key>.json."


def _caption_key(config: SourceConfig, found: pa.Schema, has_txt: bool) -> str | None:
    if config.text_column:
        if config.text_column not in found.names:
            raise SourceError(
                f"The .json members have no key {config.text_column}; they have {', '.join(found.names) or 'none'}. "
                "Correct text_column."
            )
        return config.text_column
    return None if has_txt else next((key for key in CAPTION_KEYS if key in found.names), None)


def _collect(listing: _TarListing, collector: RecordCollector) -> None:
    uri, fingerprint = listing.info.uri, listing.info.fingerprint
    for key, position, size_bytes, image in listing.samples:
        own = blake2b(f"{fingerprint}\0{key}".encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        collector.add(key, f"{uri}#{image}" if image else None, None, uri, position, size_bytes, own)


def _listings(config: SourceConfig) -> Iterator[_TarListing]:
    tars = [info for info, _name in files_of(config, "webdataset")]
    at_once = 1 if config.limit else _TARS_AT_ONCE
    for start in range(0, len(tars), at_once):
        yield from storage.in_threads(_list_tar, tars[start : start + at_once], at_once)


def _list_tar(info: ObjectInfo) -> _TarListing:
    listing = _TarListing(info)
    with storage.open_seekable(info.uri, buffer_bytes=_SCAN_BUFFER_BYTES) as file:
        try:
            for key, group in groupby(members(decompressed(file, info.uri)), key=lambda member: member.key):
                _list_sample(listing, key, group)
        except (DamagedTarError, EOFError) as error:
            if not listing.samples:
                raise SourceError(f"{info.uri} cannot be read as a tar: {error}. Repair or remove it.") from error
            listing.damage = str(error)
    return listing


def _list_sample(listing: _TarListing, key: str, group: Iterator[Member]) -> None:
    parts = []
    try:
        for member in group:
            parts.append(member)
            if member.suffix == "json" and len(listing.values) < _JSON_SAMPLE:
                listing.values.append(_scalars(member.read()))
    finally:
        # Also when the tar breaks off here: what is left of the sample is planned and fails by name when read.
        _add_sample(listing, key, parts)


def _add_sample(listing: _TarListing, key: str, parts: list[Member]) -> None:
    image = _image_of(parts)
    texts = sum(part.suffix == "txt" for part in parts)
    known = texts + sum(part.suffix == "json" for part in parts) + (image is not None)
    listing.ignored += len(parts) - known
    listing.texts += texts
    if known:
        first, last = parts[0], parts[-1]
        listing.samples.append((key, first.offset, last.end - first.offset, image.name if image else None))


def _image_of(parts: list[Member]) -> Member | None:
    """The member that is the image: `<key>.jpg` before `<key>.large.jpg`, the first of several."""
    plain = (part for part in parts if part.suffix in IMAGE_SUFFIXES)
    dotted = (part for part in parts if part.suffix.rpartition(".")[2] in IMAGE_SUFFIXES)
    return next(plain, None) or next(dotted, None)


def _scalars(data: bytes) -> dict[str, Any]:
    try:
        return json_object(data)
    except ValueError:
        return {}
