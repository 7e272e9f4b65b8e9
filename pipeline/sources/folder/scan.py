"""Lists image files, each with the text file of the same name if there is one (`a.jpg`, `a.txt`); or text files alone.

A record's id is its path below the folder. The listing is streamed: neither a folder nor a bucket has to fit in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import EmptySourceError
from pipeline.sources.collector import RecordCollector
from pipeline.sources.contract import Sink, SourceSpec
from pipeline.sources.folder.inventory.manifest import read_manifest
from pipeline.sources.folder.inventory.rows import opened
from pipeline.sources.folder.ordered import listed_in_order
from pipeline.sources.folder.pairing import Pair, is_text, pairs_in_bucket, pairs_on_disk
from pipeline.sources.names import is_folder, why_not
from pipeline.sources.places.addresses import ListBelow, addresses, entries, is_match
from pipeline.sources.skipped import SkipTally
from pipeline.sources.texts import decode_path
from pipeline.storage import ObjectInfo


def scan(config: SourceConfig, sink: Sink, out: str = "") -> SourceSpec:
    """List the images, or the texts if there is no image at all.

    Raises:
        SourceError: there are neither, or the inventory is not the source's, is damaged, or lacks what a listing has.
        UnsortedError: the bucket lists in no order; a second scan sorts it.
        StorageError: the listing failed.
    """
    if config.inventory is None:
        return _scan(config, sink, out, listed_in_order)
    manifest = read_manifest(config.inventory)
    with opened(manifest, config.uris) as inventory:

        def listing(uri: str, skip: storage.OnSkip) -> Iterator[ObjectInfo]:
            return storage.listable(inventory.below(uri, skip), uri, skip)

        spec = _scan(config, sink, out, listing)
    return replace(spec, notes=(*spec.notes, manifest.age))


def _scan(config: SourceConfig, sink: Sink, out: str, listing: ListBelow) -> SourceSpec:
    collector, tally = RecordCollector(sink, config.limit), SkipTally()
    texts = 0
    for base, image, text in _pairs(config, tally, out, listing):
        fingerprint = f"{image.fingerprint}+{text.fingerprint}" if text else image.fingerprint
        size_bytes = image.size_bytes + (text.size_bytes if text else 0)
        text_uri = storage.storable(text.uri) if text else None
        image_uri = storage.storable(image.uri)
        collector.add(_id(image.uri, base), image_uri, text_uri, None, None, size_bytes, fingerprint)
        texts += text is not None
        if collector.full:
            break
    has_images = collector.rows > 0
    if not has_images:
        tally = SkipTally()
        _list_texts(config, collector, tally, out, listing)
    collector.flush()
    if not collector.rows:
        raise EmptySourceError(f"No images and no texts were found in {', '.join(config.uris)}. Correct the address.")
    no_extra = pa.schema([])
    has_texts = texts > 0 or not has_images
    skipped = tally.skipped()
    return SourceSpec("folder", config, has_images, has_texts, no_extra, collector.rows, texts=texts, skipped=skipped)


def _list_texts(
    config: SourceConfig, collector: RecordCollector, tally: SkipTally, out: str, listing: ListBelow
) -> None:
    for base, listed in _listings(config, tally, out, listing):
        for info in listed:
            if is_text(info.uri):
                text_uri = storage.storable(info.uri)
                collector.add(_id(info.uri, base), None, text_uri, None, None, info.size_bytes, info.fingerprint)
            else:
                tally.add(why_not(info.uri), info.uri)
            if collector.full:
                return


def _pairs(config: SourceConfig, tally: SkipTally, out: str, listing: ListBelow) -> Iterator[tuple[str, *Pair]]:
    """Every image with its text if it has one, after the folder that ids are relative to."""
    for base, listed in _listings(config, tally, out, listing):
        pairs = pairs_on_disk if storage.is_local(base) else pairs_in_bucket
        yield from ((base, image, text) for image, text in pairs(listed, tally))


def _listings(
    config: SourceConfig, tally: SkipTally, out: str, listing: ListBelow
) -> Iterator[tuple[str, Iterator[ObjectInfo]]]:
    """Everything below each address, with the folder that ids are relative to."""
    for uri, address in addresses(config.uris, out):
        base = address if is_folder(address) else storage.fixed_folder(uri)
        yield base, entries(address, out, tally.add, is_match(uri, address), listing)


def _id(uri: str, base: str) -> str:
    """The path below `base`. A name that is not UTF-8 is decoded, unless a file has the decoded name."""
    path = storage.relative(uri, base)
    if storage.storable(path) == path:
        return path
    decoded = decode_path(path)
    taken = os.path.lexists(storage.join(base, decoded))
    return storage.storable(path).removeprefix("file://") if taken else decoded
