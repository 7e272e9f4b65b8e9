"""Reads samples from tars: close ones with one ranged request, those of compressed tars from a forward-only stream."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from itertools import chain, groupby, repeat, takewhile
from typing import NamedTuple

from pipeline import storage
from pipeline.errors import StorageError, UnavailableError
from pipeline.records import RawRecord, Record
from pipeline.sources.containers.compression import HEAD_BYTES, Codec, codec_of, decompressed
from pipeline.sources.contract import SourceSpec
from pipeline.sources.cursor import Cursor, CursorItem, Cursors
from pipeline.sources.failures import NO_ANSWER, failed, read_failure
from pipeline.sources.table.cells import caption_of, captions_of
from pipeline.sources.texts import decode_text
from pipeline.sources.values import fit_row, json_object
from pipeline.sources.webdataset.samples import MemberPlace, elsewhere
from pipeline.sources.webdataset.tar import DamagedTarError, Member, TarDetails, group_of, members, named_codec
from pipeline.storage import ReadPolicy
from pipeline.vocabulary import Reason, Stage

Members = list[Member]

#: Room for headers, text and .json in addition to the largest image.
_OTHER_MEMBERS_BYTES = 4 * 2**20
_MOST_CODECS = 4096
_TARS_AT_ONCE = 8
_KINDS = frozenset({"image", "txt", "json"})


class _Part(NamedTuple):
    """A part of a sample that is outside of its span, as read."""

    kind: str
    place: MemberPlace
    data: bytes | StorageError


class WebDatasetReader:
    """See `RecordReader`. Memory holds only the samples that were requested."""

    def __init__(self, spec: SourceSpec) -> None:
        self._spec = spec
        self._details = spec.details if isinstance(spec.details, TarDetails) else None
        self._caption_key = self._details.caption_key if self._details else None
        self._captions = spec.config.captions
        self._found = lru_cache(_MOST_CODECS)(self._find_codec)
        self._policy = replace(ReadPolicy.of(spec.config), max_bytes=None)
        self._limit = spec.config.max_image_bytes
        # Their slices are read in threads of their own, so that none of these waits for another one here.
        self._at_once = ThreadPoolExecutor(min(_TARS_AT_ONCE, spec.config.read_concurrency), "hanclip-tars")
        self._cursors: Cursors[Members] = Cursors(lambda uri: Cursor(lambda position: self._stream(uri)))

    def read(self, records: Sequence[Record]) -> list[RawRecord]:
        """See `RecordReader.read`."""
        results: dict[int, RawRecord] = {}
        places = sorted(range(len(records)), key=lambda place: records[place].container or "")
        tars = [list(group) for _, group in groupby(places, key=lambda place: records[place].container or "")]
        down: list[StorageError] = []

        def read_tar(wanted: Sequence[int]) -> None:
            some = [records[place] for place in wanted]
            try:
                found = self._read_samples(some[0].container or "", some)
            except StorageError as error:
                down.append(error)
                found = [RawRecord(record, failure=read_failure(error)) for record in some]
            results.update(zip(wanted, found, strict=True))

        # A shard of what is left of many tars may need one request of each.
        for _ in map(read_tar, tars) if len(tars) < 2 else self._at_once.map(read_tar, tars):
            pass
        if down and all(raw.failure and raw.failure.reason in NO_ANSWER for raw in results.values()):
            raise next(error for error in down if isinstance(error, UnavailableError))
        return [results[place] for place in range(len(records))]

    def close(self) -> None:
        """Close the open compressed tars."""
        self._at_once.shutdown()
        self._cursors.close()

    def _codec(self, uri: str) -> Codec | None:
        """How a tar is compressed: as the scan found, else (without a scan) as its first bytes say."""
        return self._details.codecs.get(uri, named_codec(uri)) if self._details else self._found(uri)

    def _find_codec(self, uri: str) -> Codec | None:
        return codec_of(storage.read_range(uri, 0, HEAD_BYTES, self._policy))

    def _read_samples(self, uri: str, records: Sequence[Record]) -> list[RawRecord]:
        if self._codec(uri):
            samples = self._cursors.of(uri).take([record.position or 0 for record in records])
            return [self._assemble(record, iter(samples.get(record.position or 0, ())), False) for record in records]
        most = self._limit + _OTHER_MEMBERS_BYTES
        placed = [elsewhere(record) for record in records]
        places = [place for known in placed for place in known.values()]
        spans = [(record.position or 0, record.size_bytes or 0) for record in records]
        spans += [(place.offset, place.size_bytes) for place in places]
        slices = storage.read_spans(uri, [(start, min(length, most)) for start, length in spans], self._policy)
        broken = next((data for data in slices if isinstance(data, StorageError)), None)
        if broken and all(isinstance(data, StorageError) for data in slices):
            raise broken
        others = iter(slices[len(records) :])
        return [
            self._parse(record, data, [_Part(kind, place, next(others)) for kind, place in known.items()])
            for record, data, known in zip(records, slices, placed, strict=False)
        ]

    def _parse(self, record: Record, data: bytes | StorageError, others: Sequence[_Part]) -> RawRecord:
        if isinstance(data, StorageError):
            return RawRecord(record, failure=read_failure(data))
        for part in others:
            if isinstance(part.data, StorageError):
                return RawRecord(record, failure=read_failure(part.data))
        whole = len(data) >= (record.size_bytes or 0)
        return self._assemble(record, members(io.BytesIO(data), record.position or 0), whole, others)

    def _stream(self, uri: str) -> Iterator[CursorItem[Members]]:
        """Samples of a compressed tar with their content, from the first one on."""
        with storage.open_seekable(uri, self._policy) as file:
            stream = decompressed(file, self._codec(uri))
            for _, group in groupby(members(stream, links=False), key=group_of):
                sample: Members = []
                with suppress(DamagedTarError):
                    sample.extend(_loaded(member, self._limit) for member in group)
                size_bytes = sum(min(member.size_bytes, self._limit) for member in sample)
                yield CursorItem(sample[0].offset, sample, size_bytes)

    def _assemble(
        self, record: Record, found: Iterator[Member], whole: bool, others: Sequence[_Part] = ()
    ) -> RawRecord:
        """The record's parts, or the failure if they are not what was planned."""
        names = {part.kind: part.place.name for part in others}
        image_name = names.get("image") or (record.image_uri or "").removeprefix(f"{record.container}#")
        parts: dict[str, bytes] = {}
        at_place = False
        own = takewhile(lambda member: member.key == record.id, found)
        try:
            for is_own, member in chain(zip(repeat(True), own), zip(repeat(False), map(_first, others))):
                at_place |= is_own
                kind = "image" if member.name == image_name else member.suffix
                if kind == "image" and member.size_bytes > self._limit:
                    return failed(record, Reason.TOO_LARGE, _too_large(member, self._limit))
                if kind in _KINDS and kind not in parts and member.target is None:
                    parts[kind] = member.read()
        except (DamagedTarError, EOFError):
            if not whole:
                return failed(record, Reason.TRUNCATED, f"{record.container} ends inside this record. Repair the tar.")
        if (
            not (at_place and parts)
            or (record.image_uri and "image" not in parts)
            or (record.text_uri and "txt" not in parts)
        ):
            detail = (
                f"{record.container} no longer holds {record.id} at byte {record.position}. Run the same command again."
            )
            return failed(record, Reason.CHANGED, detail)
        return self._raw(record, parts)

    def _raw(self, record: Record, parts: dict[str, bytes]) -> RawRecord:
        if self._spec.has_images and "image" not in parts:
            return failed(record, Reason.MISSING_IMAGE, f"{record.id} has no image among its files in the tar. Add it.")
        try:
            values = json_object(parts.get("json") or b"{}")
            extra = fit_row(values, self._spec.carried)
        except ValueError as error:
            return failed(record, Reason.UNREADABLE, f"The .json of {record.id} cannot be used: {error}. Correct it.")
        caption = values.get(self._caption_key) if self._caption_key else None
        try:
            text = decode_text(parts["txt"]) if "txt" in parts else caption_of(captions_of(caption), self._captions)
        except UnicodeDecodeError:
            detail = f"The text of {record.id} is neither UTF-8 nor GB18030. Convert it to UTF-8."
            return failed(record, Reason.BAD_TEXT, detail, Stage.TEXT)
        except ValueError as error:
            detail = f"The {self._caption_key} of {record.id} in its .json cannot be embedded: {error}. Correct it."
            return failed(record, Reason.BAD_TEXT, detail, Stage.TEXT)
        return RawRecord(record, parts.get("image"), text, extra)


def _first(part: _Part) -> Member:
    """The member at the part's place. Raises DamagedTarError if there is none."""
    assert isinstance(part.data, bytes)
    found = next(members(io.BytesIO(part.data), part.place.offset), None)
    if found is None:
        raise DamagedTarError(f"no member at byte {part.place.offset}")
    return found


def _loaded(member: Member, limit: int) -> Member:
    """A member with its content in memory, since the stream moves on."""
    if member.size_bytes > limit:
        return member
    try:
        data = member.read()
    except EOFError as error:
        return replace(member, read=partial(_raise, error))
    return replace(member, read=lambda: data)


def _raise(error: EOFError) -> bytes:
    raise error


def _too_large(member: Member, limit: int) -> str:
    return f"{member.name} has {member.size_bytes:,} bytes, more than {limit:,}. Raise --max-image-bytes to read it."
