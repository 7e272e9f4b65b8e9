"""Lists image files, each with the text file of the same name if there is one (`a.jpg`, `a.txt`); or text files alone.

A record's id is its path below the folder. The listing is streamed: neither a folder nor a bucket has to fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import pyarrow as pa

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import EmptySourceError
from pipeline.sources.collector import RecordCollector
from pipeline.sources.contract import Sink, SourceSpec
from pipeline.sources.names import is_folder, is_image
from pipeline.sources.places.addresses import addresses, entries
from pipeline.sources.skipped import SkipTally
from pipeline.storage import ObjectInfo
from pipeline.vocabulary import Skip

_ImageAndText = tuple[ObjectInfo | None, ObjectInfo | None]


def scan(config: SourceConfig, sink: Sink, out: str = "") -> SourceSpec:
    """List the images, or the texts if there is no image at all.

    Raises:
        SourceError: there are neither.
        StorageError: the listing failed.
    """
    collector = RecordCollector(sink, config.limit)
    texts, tally = 0, SkipTally()
    for base, listed in _listings(config, out):
        for image, text in _pairs_on_disk(listed) if storage.is_local(base) else _pairs_in_bucket(listed):
            if image is None:
                tally.add(Skip.LONE_TEXT, text.uri if text else "")
                continue
            fingerprint = f"{image.fingerprint}+{text.fingerprint}" if text else image.fingerprint
            size_bytes = image.size_bytes + (text.size_bytes if text else 0)
            text_uri = text.uri if text else None
            collector.add(storage.relative(image.uri, base), image.uri, text_uri, None, None, size_bytes, fingerprint)
            texts += text is not None
            if collector.full:
                break
    has_images = collector.rows > 0
    if not has_images:
        _list_texts(config, collector, out)
    collector.flush()
    if not collector.rows:
        raise EmptySourceError(f"No images and no texts were found in {', '.join(config.uris)}. Correct the address.")
    skipped = tally.skipped() if has_images else ()
    no_extra = pa.schema([])
    has_texts = texts > 0 or not has_images
    return SourceSpec("folder", config, has_images, has_texts, no_extra, collector.rows, texts=texts, skipped=skipped)


def _list_texts(config: SourceConfig, collector: RecordCollector, out: str) -> None:
    for base, listed in _listings(config, out):
        for info in listed:
            if info.uri.lower().endswith(".txt"):
                record_id = storage.relative(info.uri, base)
                collector.add(record_id, None, info.uri, None, None, info.size_bytes, info.fingerprint)
            if collector.full:
                return


def _listings(config: SourceConfig, out: str) -> Iterator[tuple[str, Iterator[ObjectInfo]]]:
    """Everything below each address, with the folder that ids are relative to."""
    for uri, address in addresses(config.uris, out):
        yield (address if is_folder(address) else storage.fixed_folder(uri)), entries(address, out)


def _pairs_on_disk(listed: Iterator[ObjectInfo]) -> Iterator[_ImageAndText]:
    """Images with their texts, looked up one by one: a disk lists in any order."""
    for info in listed:
        if is_image(info.uri):
            yield info, storage.find_local(f"{_stem_of(info.uri)}.txt")


def _pairs_in_bucket(listed: Iterator[ObjectInfo]) -> Iterator[_ImageAndText]:
    """Images with their texts, and texts without an image: a bucket lists in order, so they are neighbours."""
    for _stem, neighbours in groupby(listed, key=_first_stem):
        group = list(neighbours)
        texts = {_stem_of(info.uri): info for info in group if info.uri.endswith(".txt")}
        for info in group:
            if is_image(info.uri):
                yield info, texts.pop(_stem_of(info.uri), None)
        yield from ((None, text) for text in texts.values())


def _first_stem(info: ObjectInfo) -> str:
    """Everything before the name's first dot: files that share it are neighbours in a sorted listing."""
    return info.uri[: info.uri.find(".", info.uri.rfind("/"))]


def _stem_of(uri: str) -> str:
    return uri.rpartition(".")[0]
