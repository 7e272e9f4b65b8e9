"""Lists the samples in tars: runs of members that share a key, as WebDataset writes them.

`<key>.<image suffix>` is the image, `<key>.txt` the text, and the scalars of `<key>.json` are further columns. The key
is the record's id. Only headers and .json members are read, but all of the latter, so that column types fit all values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, BinaryIO

import pyarrow as pa

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import ContainerError, EmptySourceError, SourceError, StorageError, UnavailableError
from pipeline.sources.collector import RecordCollector
from pipeline.sources.containers.compression import Codec, decompressed, find_codec
from pipeline.sources.containers.damage import Container, Damage, fingerprint
from pipeline.sources.contract import Sink, SourceSpec
from pipeline.sources.detect import files_of
from pipeline.sources.extra import Carried, choose_extra
from pipeline.sources.skipped import SkipTally
from pipeline.sources.values import Widening, json_object
from pipeline.sources.webdataset.samples import Sample, apart, sample_of, whole
from pipeline.sources.webdataset.tar import (
    TEXT_SUFFIXES,
    DamagedTarError,
    Member,
    TarDetails,
    group_of,
    members,
    named_codec,
)
from pipeline.storage import ReadPolicy
from pipeline.vocabulary import Skip

CAPTION_KEYS = ("caption", "text")

#: More keys than this are data rather than columns, and carrying them all is not what the user meant.
_MOST_COLUMNS = 1000
#: Larger .json members are not scanned for columns; a record whose values then do not fit fails when it is read.
_LARGEST_JSON_BYTES = 4 * 2**20
_TARS_AT_ONCE = 8
_SCAN_BUFFER_BYTES = 2**16


@dataclass(slots=True)
class _TarListing:
    """The content of one tar.

    Attributes:
        end: the byte after its last member, in the decompressed stream if there is a codec.
        damage: why nothing after that can be read.
        error: why nothing at all can be read.
    """

    container: Container
    codec: Codec | None = None
    samples: list[Sample] = field(default_factory=list)
    columns: Widening = field(default_factory=Widening)
    skipped: SkipTally = field(default_factory=SkipTally)
    end: int = 0
    damage: str = ""
    error: ContainerError | StorageError | None = None

    @property
    def uri(self) -> str:
        """Its address."""
        return self.container.info.uri

    def skip(self, kind: Skip, name: str) -> None:
        """Count a member that is part of no record."""
        self.skipped.add(kind, f"{self.uri}#{name}")


def scan(config: SourceConfig, sink: Sink, out: str = "") -> SourceSpec:
    """List every sample of every tar.

    Raises:
        SourceError: no tar is found, too many cannot be read, or a column's name is reserved.
        StorageError: the store is down, or refuses all tars.
    """
    collector, widening = RecordCollector(sink, config.limit), Widening()
    damage, codecs = Damage(config, collector, "tars"), dict[str, Codec | None]()
    images, texts, tally = 0, 0, SkipTally()
    for listing in _listings(config, out, tally):
        images += sum(sample.image is not None for sample in listing.samples)
        texts += sum(sample.text is not None for sample in listing.samples)
        tally.merge(listing.skipped)
        widening.merge(listing.columns)
        _collect(listing, collector, damage)
        if listing.samples and listing.codec is not named_codec(listing.uri):
            codecs[listing.uri] = listing.codec
        if collector.full:
            break
    damage.finish()
    collector.flush()
    if not collector.rows:
        raise _nothing(config, tally)
    caption_key = _caption_key(config, widening.schema(), texts > 0)
    extra = _choose_extra(widening.schema(), caption_key, config)
    shape = (images > 0, texts > 0 or caption_key is not None)
    return SourceSpec(
        "webdataset",
        config,
        *shape,
        extra.schema,
        collector.rows,
        details=TarDetails(caption_key, codecs),
        damage=damage.failures,
        notes=tuple(damage.notes),
        texts=None if caption_key or collector.full else texts,
        skipped=tally.skipped(),
        renamed=extra.renamed,
    )


def _nothing(config: SourceConfig, tally: SkipTally) -> SourceError:
    left_out = "; ".join(map(str, tally.skipped()))
    kind = SourceError if left_out else EmptySourceError
    return kind(
        f"The tars in {', '.join(config.uris)} hold no samples of images or texts"
        f"{f', only {left_out}' if left_out else ''}. Members must be named <key>.jpg, <key>.txt, <key>.json."
    )


def _caption_key(config: SourceConfig, found: pa.Schema, has_txt: bool) -> str | None:
    if config.captions == "rows":
        raise SourceError("--captions rows is for tables. Choose first or joined for tars.")
    if config.text_column:
        if config.text_column not in found.names:
            raise SourceError(
                f"The .json members have no key {config.text_column}; they have {', '.join(found.names) or 'none'}. "
                "Correct --text-column."
            )
        return config.text_column
    keys = [key for key in CAPTION_KEYS if key in found.names and key not in (config.drop_columns or ())]
    return keys[0] if keys and not has_txt else None


def _choose_extra(found: pa.Schema, caption_key: str | None, config: SourceConfig) -> Carried:
    found = pa.schema([column for column in found if column.name != caption_key])
    if config.extra_columns is None and len(found) > _MOST_COLUMNS:
        raise SourceError(
            f"The .json members have {len(found):,} different keys, more than {_MOST_COLUMNS:,} columns. "
            "Name those to keep with --extra-column."
        )
    return choose_extra(found, config)


def _collect(listing: _TarListing, collector: RecordCollector, damage: Damage) -> None:
    container, uri = listing.container, listing.uri
    with damage.reading(container):
        if listing.error:
            raise listing.error
        for sample in listing.samples:
            place = (uri, sample.position, sample.size_bytes, fingerprint(container.info, sample.key))
            collector.add(sample.key, sample.image_uri(uri), sample.text_uri(uri), *place)
        if listing.damage:
            at = listing.end if listing.codec else min(listing.end, container.info.size_bytes)
            damage.cut(container, listing.damage, at, None if listing.codec else container.info.size_bytes - at)


def _listings(config: SourceConfig, out: str, tally: SkipTally) -> Iterator[_TarListing]:
    listings = [_TarListing(Container(info, name)) for info, name in files_of(config, "webdataset", out, tally)]
    policy = ReadPolicy.of(config)
    at_once = 1 if config.limit else _TARS_AT_ONCE
    for start in range(0, len(listings), at_once):
        some = listings[start : start + at_once]
        yield from storage.in_threads(lambda listing: _list_tar(listing, policy), some, at_once)


def _list_tar(listing: _TarListing, policy: ReadPolicy) -> _TarListing:
    uri = listing.uri
    try:
        with storage.open_seekable(uri, policy, _SCAN_BUFFER_BYTES) as file, storage.translated(uri):
            listing.codec = find_codec(file)
            _list_members(listing, decompressed(file, listing.codec))
    except UnavailableError:
        raise
    except StorageError as error:
        listing.error = error
    return listing


def _list_members(listing: _TarListing, file: BinaryIO) -> None:
    try:
        found = members(file, links=listing.codec is None, skip=listing.skip)
        for _, group in groupby(found, key=group_of):
            _list_sample(listing, group)
    except (DamagedTarError, EOFError) as error:
        listing.damage = str(error)
        if not listing.samples:
            listing.error = ContainerError(f"{listing.uri} cannot be read as a tar: {error}. Repair or remove it.")
    if listing.codec is None:
        listing.samples = whole(listing.samples, partial(listing.skip, Skip.UNFOLLOWED_LINK))
    elif key := apart(listing.samples):
        listing.error = ContainerError(
            f"In {listing.uri} the members of {key} are not next to each other, and it is compressed. Pack it sorted "
            "by name (tar --sort=name), or uncompressed."
        )


def _list_sample(listing: _TarListing, group: Iterator[Member]) -> None:
    parts = []
    try:
        for member in group:
            parts.append(member)
            if member.suffix == "json" and member.target is None and member.size_bytes <= _LARGEST_JSON_BYTES:
                listing.columns.see(_scalars(member.read()))
    finally:
        # Also if the tar ends here: the rest of the sample is planned, and fails when it is read.
        _add_sample(listing, parts)


def _add_sample(listing: _TarListing, parts: list[Member]) -> None:
    sample = sample_of(parts)
    image = sample.image.name if sample and sample.image else None
    for part in parts:
        if part.suffix not in TEXT_SUFFIXES:
            if part.name != image:
                listing.skip(Skip.UNKNOWN_MEMBER, part.name)
        elif part.target is not None and part.suffix == "json":
            listing.skip(Skip.UNFOLLOWED_LINK, part.name)
    listing.end = parts[-1].end if parts else listing.end
    if sample:
        listing.samples.append(sample)


def _scalars(data: bytes) -> dict[str, Any]:
    try:
        return json_object(data)
    except ValueError:
        return {}
