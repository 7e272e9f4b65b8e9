"""Reads image files and their texts."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import storage
from pipeline.errors import StorageError
from pipeline.records import Failure, RawRecord, Record
from pipeline.sources.contract import SourceSpec
from pipeline.sources.failures import raise_if_all_unavailable, read_failure
from pipeline.sources.texts import decode_text
from pipeline.storage import ReadPolicy
from pipeline.vocabulary import Reason, Stage


class FolderReader:
    """See `RecordReader`. Reads all images and texts concurrently."""

    def __init__(self, spec: SourceSpec) -> None:
        self._policy = ReadPolicy.of(spec.config)

    def read(self, records: Sequence[Record]) -> list[RawRecord]:
        """See `RecordReader.read`."""
        uris = [uri for record in records for uri in (record.image_uri, record.text_uri) if uri]
        results = storage.read_many(uris, self._policy)
        raise_if_all_unavailable(results)
        found = dict(zip(uris, results, strict=True))
        return [_raw(record, found) for record in records]

    def close(self) -> None:
        """Nothing stays open."""


def _raw(record: Record, found: dict[str, bytes | StorageError]) -> RawRecord:
    image, text = (found[uri] if uri else None for uri in (record.image_uri, record.text_uri))
    for part in (image, text):
        if isinstance(part, StorageError):
            return RawRecord(record, failure=read_failure(part))
    assert not isinstance(image, StorageError)
    assert not isinstance(text, StorageError)
    try:
        return RawRecord(record, image, None if text is None else decode_text(text))
    except UnicodeDecodeError:
        detail = f"{record.text_uri} is neither UTF-8 nor GB18030. Convert it to UTF-8."
        return RawRecord(record, failure=Failure(Stage.TEXT, Reason.BAD_TEXT, detail))
