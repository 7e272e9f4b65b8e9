"""Reads images and texts from the authors' files: lines by offset, entries of LMDB folders by key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from threading import Lock
from typing import NamedTuple

from pipeline import storage
from pipeline.errors import SourceError, StorageError
from pipeline.records import RawRecord, Record
from pipeline.sources.chinese_clip.holdings import IMAGES_SUFFIX, TEXT_SUFFIXES
from pipeline.sources.chinese_clip.labelled import ClassFolders, class_folder
from pipeline.sources.chinese_clip.lines import (
    PIECE_BYTES,
    encoded_image,
    fingerprint,
    image_id,
    text_line,
)
from pipeline.sources.chinese_clip.lmdb_folder import LmdbFolder
from pipeline.sources.chinese_clip.pickled_pair import parse_pair
from pipeline.sources.chinese_clip.rows import text_fingerprint
from pipeline.sources.chinese_clip.texts_file import as_number
from pipeline.sources.contract import SourceSpec
from pipeline.sources.failures import failed, raise_if_all_unavailable, read_failure
from pipeline.sources.folder.reader import FolderReader
from pipeline.sources.references.inline import decode_base64
from pipeline.storage import ReadPolicy
from pipeline.vocabulary import Reason

_Parts = dict["_Place", bytes | StorageError]


class _Place(NamedTuple):
    """A line of a file by its offset and size, or an entry of an LMDB folder by its key."""

    uri: str
    at: int | str
    size_bytes: int = 0


class ChineseClipReader:
    """See `RecordReader`. LMDB folders stay open between calls."""

    def __init__(self, spec: SourceSpec) -> None:
        self._spec = spec
        self._limit = spec.config.max_image_bytes
        # base64 takes four bytes for three. A line too long for any allowed image is refused unread.
        self._policy = replace(ReadPolicy.of(spec.config), max_bytes=max(PIECE_BYTES, self._limit // 3 * 4 + 4096))
        self._folder_reader = FolderReader(spec)
        self._folders: dict[str, LmdbFolder] = {}
        self._opening = Lock()

    def read(self, records: Sequence[Record]) -> list[RawRecord]:
        """See `RecordReader.read`."""
        if isinstance(self._spec.details, ClassFolders):
            return [self._with_label(raw, self._spec.details) for raw in self._folder_reader.read(records)]
        places = {place for record in records for place in (_image_place(record), _text_place(record)) if place}
        found = self._fetch(places)
        raise_if_all_unavailable(list(found.values()))
        return [self._raw(record, found) for record in records]

    def close(self) -> None:
        """Close the LMDB folders."""
        with self._opening:
            for folder in self._folders.values():
                folder.close()
            self._folders.clear()

    def _with_label(self, raw: RawRecord, folders: ClassFolders) -> RawRecord:
        index, label = folders.classes.get(class_folder(raw.record.id), (None, None))
        values = {"label": label, "label_index": index}
        return replace(raw, extra={name: values[name] for name in self._spec.extra.names})

    def _fetch(self, places: Iterable[_Place]) -> _Parts:
        by_uri: dict[str, list[_Place]] = {}
        for place in sorted(places, key=lambda place: (place.uri, str(place.at))):
            by_uri.setdefault(place.uri, []).append(place)
        found: _Parts = {}
        for uri, some in by_uri.items():
            results = self._lines(uri, some) if _is_file(uri) else self._entries(uri, some)
            found.update(zip(some, results, strict=True))
        return found

    def _lines(self, uri: str, places: Sequence[_Place]) -> list[bytes | StorageError]:
        return storage.read_spans(uri, [(int(place.at), place.size_bytes) for place in places], self._policy)

    def _entries(self, uri: str, places: Sequence[_Place]) -> list[bytes | StorageError]:
        try:
            with self._opening:
                if uri not in self._folders:
                    self._folders[uri] = LmdbFolder(uri)
            return list(self._folders[uri].take(str(place.at).encode() for place in places))
        except SourceError as error:
            return [StorageError(str(error), uri)] * len(places)

    def _raw(self, record: Record, found: _Parts) -> RawRecord:
        """The record with its parts, or the failure of the first part that fails."""
        image_place, text_place = _image_place(record), _text_place(record)
        parts = {place: found[place] for place in (image_place, text_place) if place}
        for data in parts.values():
            if isinstance(data, StorageError):
                return RawRecord(record, failure=read_failure(data))
        if self._spec.has_images and image_place is None and record.image_uri:
            uri, _, key = record.image_uri.rpartition("#")
            return failed(
                record, Reason.NOT_FOUND, f"The text refers to the image {key}, which is not in {uri}. Add it."
            )
        image_data, text_data = (parts[place] if place else None for place in (image_place, text_place))
        assert not isinstance(image_data, StorageError)
        assert not isinstance(text_data, StorageError)
        if _fingerprint(record, image_data, text_data) != record.source_fingerprint:
            return failed(record, Reason.CHANGED, _CHANGED.format(container=record.container))
        return self._parsed(record, image_data, text_data)

    def _parsed(self, record: Record, image_data: bytes | None, text_data: bytes | None) -> RawRecord:
        try:
            text, image_ids = _text(record, text_data) if text_data is not None else (None, ())
            image = None if image_data is None else _image(record, image_data)
        except ValueError as error:
            return failed(record, Reason.UNREADABLE, f"{_where(record)} cannot be read: {error}. Correct it.")
        if image is not None and not image:
            return failed(record, Reason.MISSING_IMAGE, f"{_where(record)} has no image after its id. Add it.")
        if image is not None and len(image) > self._limit:
            detail = f"The image has {len(image):,} bytes, more than {self._limit:,}. Raise --max-image-bytes to read."
            return failed(record, Reason.TOO_LARGE, detail)
        values = {**_ids_of_pair(record), "image_ids": _as_json(image_ids)}
        return RawRecord(record, image, text, {name: values[name] for name in self._spec.extra.names})


_CHANGED = "{container} changed at this record's place since it was planned. Run the same command again."


def _is_file(uri: str) -> bool:
    return uri.endswith((IMAGES_SUFFIX, *TEXT_SUFFIXES))


def _image_place(record: Record) -> _Place | None:
    """The place of the image; None for a text, and for a pair whose image is missing: its container is the texts'."""
    container = record.container or ""
    if record.text_uri and record.text_uri.rpartition("#")[0] == container:
        return None
    if _is_file(container):
        return _Place(container, record.position or 0, record.size_bytes or 0)
    return _Place(container, (record.image_uri or "").rpartition("#")[2])


def _text_place(record: Record) -> _Place | None:
    if not record.text_uri:
        return None
    uri, _, at = record.text_uri.rpartition("#")
    offset, _, size_bytes = at.partition("+")
    return _Place(uri, int(offset), int(size_bytes)) if _is_file(uri) else _Place(uri, at)


def _fingerprint(record: Record, image_data: bytes | None, text_data: bytes | None) -> str:
    """The fingerprint of the bytes that were read."""
    parts = [fingerprint(data) for data in (image_data, text_data) if data is not None]
    if image_data is None and text_data is not None and not _is_file(record.container or ""):
        try:
            return text_fingerprint(parse_pair(text_data))
        except ValueError:
            return parts[0]
    return "+".join(parts)


def _text(record: Record, data: bytes) -> tuple[str, tuple[str, ...]]:
    if _is_file((record.text_uri or "").rpartition("#")[0]):
        found = text_line(data)
        return found.text, found.image_ids
    return parse_pair(data).text, ()


def _image(record: Record, data: bytes) -> bytes:
    if _is_file(record.container or ""):
        image_id(data)
        return decode_base64(encoded_image(data))
    return decode_base64(data.strip())


def _as_json(image_ids: Sequence[str]) -> str | None:
    """The ids as JSON, with numbers as numbers."""
    ids = [key if (number := as_number(key)) is None else number for key in image_ids]
    return json.dumps(ids, ensure_ascii=False) if ids else None


def _ids_of_pair(record: Record) -> dict[str, str | None]:
    image_key = (record.image_uri or "").rpartition("#")[2]
    return {"text_id": record.id.removesuffix(f":{image_key}"), "image_id": image_key}


def _where(record: Record) -> str:
    if _is_file(record.container or ""):
        return f"The line at byte {record.position:,} of {record.container}"
    return f"The entry {record.text_uri or record.image_uri}"
