"""Reads images again from the locations in the plans of a dataset's runs.

In: rows with their planned records (`places.locate`). Out: for each the bytes that were embedded, verified by their
sha256, or a `Failure`. Chunks are small, and images that do not fit into a small buffer are spooled to disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from tempfile import SpooledTemporaryFile
from types import MappingProxyType
from typing import Any

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.curation.originals.places import PlannedFile, source_of
from pipeline.dataset.dataset import Dataset
from pipeline.errors import SourceError, StorageError, UnavailableError
from pipeline.records import Failure, Record
from pipeline.sources import RecordReader, reopen
from pipeline.sources.detect import detect, kind_of_container
from pipeline.sources.failures import read_failure
from pipeline.sources.references.image import parse
from pipeline.storage import ReadPolicy
from pipeline.vocabulary import Reason, SourceKind, Stage

_CHUNK_ROWS = 64
_CHUNK_BYTES = 32 * 2**20
_SPOOL_BYTES = 64 * 2**20

#: Values that replace fields of the runs' `SourceConfig`, such as `retry_timeout_s`.
ReadOverrides = Mapping[str, float]
NO_OVERRIDES: ReadOverrides = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """An image to read: columns of its row, the planned record, and the number of the plan file that contains it."""

    id: str
    image_uri: str | None
    image_sha256: str | None
    record: Record | None
    plan: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> ImageRequest:
        """The image of a row of the table `located`, which also has `image_uri` and `image_sha256`."""
        place = dict(row["hanclip_place"] or {"plan": -1})
        plan = place.pop("plan")
        record = Record(id=row["id"], source_fingerprint=row["source_fingerprint"], **place) if place else None
        return cls(row["id"], row["image_uri"], row["image_sha256"], record, plan)

    @property
    def order(self) -> tuple[int, str, int, str]:
        """Sort key that reads each container from front to back."""
        if self.record is None:
            return (-1, "", 0, self.id)
        return (self.plan, self.record.container or "", self.record.position or 0, self.id)


class ImageReader:
    """Reads the images of a dataset's rows. Use as a context manager.

    Args:
        dataset: the dataset.
        files: the result of `locate`.
        overrides: replace settings of the runs.
    """

    def __init__(self, dataset: Dataset, files: Sequence[PlannedFile], overrides: ReadOverrides = NO_OVERRIDES) -> None:
        self._dataset = dataset
        self._sources = cache(
            lambda plan: (source_of(files[plan]) if plan >= 0 else SourceConfig()).model_copy(update=dict(overrides))
        )
        self._detect = cache(lambda config: detect(config, dataset.uri))
        self._readers: dict[tuple[SourceConfig, SourceKind], RecordReader] = {}
        self._open = ExitStack()

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    def read(self, requests: Sequence[ImageRequest]) -> Iterator[bytes | Failure]:
        """Read the images and yield them in the order of the requests.

        Raises:
            UnavailableError: a store seems to be down.
        """
        spans: dict[int, tuple[int, int] | Failure] = {}
        with SpooledTemporaryFile(_SPOOL_BYTES, prefix="hanclip-") as spool:
            for chunk in _chunks(sorted(range(len(requests)), key=lambda number: requests[number].order), requests):
                for number, result in zip(chunk, self._chunk([requests[number] for number in chunk]), strict=True):
                    spans[number] = result if isinstance(result, Failure) else (spool.tell(), spool.write(result))
            for number in range(len(requests)):
                span = spans[number]
                if isinstance(span, Failure):
                    yield span
                else:
                    spool.seek(span[0])
                    yield spool.read(span[1])

    def _chunk(self, requests: Sequence[ImageRequest]) -> list[bytes | Failure]:
        results: list[bytes | Failure] = []
        for plan, group in groupby(requests, key=lambda request: request.plan):
            some = list(group)
            results += self._planned(some) if plan >= 0 else [_not_planned(one, self._dataset.uri) for one in some]
        return [
            result if isinstance(result, Failure) else _verified(request, result)
            for request, result in zip(requests, self._retried(requests, results), strict=True)
        ]

    def _planned(self, requests: Sequence[ImageRequest]) -> list[bytes | Failure]:
        """Read images from their planned locations, all of one plan."""
        config = self._sources(requests[0].plan)
        results: list[bytes | Failure] = []
        for container, group in groupby(requests, key=lambda request: request.record and request.record.container):
            records = [request.record for request in group if request.record]
            try:
                kind = self._kind(container, config)
                # The dataset has the text. A text file that is gone or has changed must not make the image fail.
                records = [replace(record, text_uri=None) for record in records] if container is None else records
                raws = self._reader(config, kind, container).read(records)
            except SourceError as error:
                results += [Failure(Stage.READ, Reason.NOT_FOUND, str(error))] * len(records)
            except UnavailableError:
                raise
            except StorageError as error:
                results += [read_failure(error)] * len(records)
            else:
                results += [raw.image if raw.image is not None else raw.failure or _EMPTY for raw in raws]
        return results

    def _kind(self, container: str | None, config: SourceConfig) -> SourceKind:
        if container is not None and config.format != "auto":
            return config.format
        return kind_of_container(container) or self._detect(config)

    def _reader(self, config: SourceConfig, kind: SourceKind, container: str | None) -> RecordReader:
        if (config, kind) not in self._readers:
            identity = self._dataset.identity
            opened = reopen(kind, config, container, identity.has_images, identity.has_texts)
            self._readers[config, kind] = opened
            self._open.callback(opened.close)
        return self._readers[config, kind]

    def _retried(self, requests: Sequence[ImageRequest], results: list[bytes | Failure]) -> list[bytes | Failure]:
        """Retry failures with the URI of the row itself: its table may have been rewritten, or its plan be gone."""
        failed = [
            number
            for number, result in enumerate(results)
            if isinstance(result, Failure) and _has_own_uri(requests[number])
        ]
        policy = ReadPolicy.of(self._sources(requests[failed[0]].plan if failed else -1))
        policy = replace(policy, hosts=storage.HostHealth())
        uris = [_address(requests[number].image_uri or "") for number in failed]
        for number, data in zip(failed, storage.read_many(uris, policy), strict=True):
            if isinstance(data, UnavailableError):
                results[number] = read_failure(data)  # so nobody knows whether the image is there
            elif not isinstance(data, StorageError):
                results[number] = data
        return results


_EMPTY = Failure(Stage.READ, Reason.MISSING_IMAGE, "The source no longer has an image at this location.")


def _chunks(order: Sequence[int], requests: Sequence[ImageRequest]) -> Iterator[list[int]]:
    """Numbers of requests to read at once, limited in number and, if the source states sizes, in bytes."""
    chunk: list[int] = []
    chunk_bytes = 0
    for number in order:
        record = requests[number].record
        size_bytes = (record.size_bytes if record else None) or 0
        if chunk and (len(chunk) == _CHUNK_ROWS or chunk_bytes + size_bytes > _CHUNK_BYTES):
            yield chunk
            chunk, chunk_bytes = [], 0
        chunk.append(number)
        chunk_bytes += size_bytes
    if chunk:
        yield chunk


def _has_own_uri(request: ImageRequest) -> bool:
    """Whether the row's URI is that of a whole object which has not been tried yet."""
    uri, record = request.image_uri or "", request.record
    return bool(uri) and "#" not in uri and (record is None or bool(record.container))


def _address(image_uri: str) -> str:
    """The address to read for a stored URI, which is as written in its table."""
    reference = parse(image_uri, "")
    return reference.uri or image_uri if reference else image_uri


def _not_planned(request: ImageRequest, out: str) -> Failure:
    detail = (
        f"No plan below {out}/_runs has the location of {request.id} in its source: restore the folders of the runs, "
        "or embed the source to another OUT."
    )
    return Failure(Stage.READ, Reason.NOT_FOUND, detail)


def _verified(request: ImageRequest, data: bytes) -> bytes | Failure:
    """The image, if it is the one that was embedded."""
    if request.image_sha256 is not None and hashlib.sha256(data).hexdigest() == request.image_sha256:
        return data
    detail = f"{request.image_uri} is not the image that was embedded. Run `hanclip embed` again."
    return Failure(Stage.READ, Reason.CHANGED, detail)
