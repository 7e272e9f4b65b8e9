"""Reads images again at the places where the plans of a dataset's runs found them.

In: rows with their planned records (`places.locate`). Out: for each the bytes that were embedded, which their sha256
proves, or a `Failure`. Chunks are small, and what does not fit into a little memory waits on the disk.
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
from pipeline.storage import ReadPolicy
from pipeline.vocabulary import Reason, SourceKind, Stage

_CHUNK_ROWS = 64
_CHUNK_BYTES = 32 * 2**20
_SPOOL_BYTES = 64 * 2**20

#: Fields of `SourceConfig`, such as `retry_timeout_s`.
Patience = Mapping[str, float]
AS_PLANNED: Patience = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image to be read: the row's own facts, its planned record, and the number of the file that has this."""

    id: str
    image_uri: str | None
    image_sha256: str | None
    record: Record | None
    plan: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Wanted:
        """A row of the table `located` with `image_uri` and `image_sha256`."""
        place = dict(row["hanclip_place"] or {"plan": -1})
        plan = place.pop("plan")
        record = Record(id=row["id"], source_fingerprint=row["source_fingerprint"], **place) if place else None
        return cls(row["id"], row["image_uri"], row["image_sha256"], record, plan)

    @property
    def order(self) -> tuple[int, str, int, str]:
        """Neighbours in a container come one after the other."""
        if self.record is None:
            return (-1, "", 0, self.id)
        return (self.plan, self.record.container or "", self.record.position or 0, self.id)


class ImageReader:
    """Reads images at their places. Use as a context manager.

    Args:
        dataset: whose rows they belong to.
        files: of `locate`.
        patience: limits of reading that are to hold in place of those of the runs.
    """

    def __init__(self, dataset: Dataset, files: Sequence[PlannedFile], patience: Patience = AS_PLANNED) -> None:
        self._dataset = dataset
        self._sources = cache(
            lambda plan: (source_of(files[plan]) if plan >= 0 else SourceConfig()).model_copy(update=dict(patience))
        )
        self._detect = cache(lambda config: detect(config, dataset.uri))
        self._readers: dict[tuple[SourceConfig, SourceKind], RecordReader] = {}
        self._open = ExitStack()

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    def read(self, wanted: Sequence[Wanted]) -> Iterator[bytes | Failure]:
        """The images in order. They wait on the disk where they do not fit into a little memory.

        Raises:
            UnavailableError: a store is down, as far as one can tell.
        """
        spans: dict[int, tuple[int, int] | Failure] = {}
        with SpooledTemporaryFile(_SPOOL_BYTES, prefix="hanclip-") as spool:
            for chunk in _chunks(sorted(range(len(wanted)), key=lambda at: wanted[at].order), wanted):
                for at, got in zip(chunk, self._chunk([wanted[at] for at in chunk]), strict=True):
                    spans[at] = got if isinstance(got, Failure) else (spool.tell(), spool.write(got))
            for at in range(len(wanted)):
                span = spans[at]
                if isinstance(span, Failure):
                    yield span
                else:
                    spool.seek(span[0])
                    yield spool.read(span[1])

    def _chunk(self, wanted: Sequence[Wanted]) -> list[bytes | Failure]:
        found: list[bytes | Failure] = []
        for plan, group in groupby(wanted, key=lambda one: one.plan):
            some = list(group)
            found += self._planned(some) if plan >= 0 else [_nowhere(one, self._dataset.uri) for one in some]
        return self._checked(wanted, self._moved(wanted, found))

    def _planned(self, wanted: Sequence[Wanted]) -> list[bytes | Failure]:
        """What lies at the planned places, all of one plan."""
        config = self._sources(wanted[0].plan)
        found: list[bytes | Failure] = []
        for container, group in groupby(wanted, key=lambda one: one.record and one.record.container):
            records = [one.record for one in group if one.record]
            try:
                kind = self._kind(container, config)
                # The text is known. A file of its own, gone or changed, must not keep the image back.
                records = [replace(record, text_uri=None) for record in records] if container is None else records
                raws = self._reader(config, kind, container).read(records)
            except SourceError as error:
                found += [Failure(Stage.READ, Reason.NOT_FOUND, str(error))] * len(records)
            except UnavailableError:
                raise
            except StorageError as error:
                found += [read_failure(error)] * len(records)
            else:
                found += [raw.image if raw.image is not None else raw.failure or _EMPTY for raw in raws]
        return found

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

    def _moved(self, wanted: Sequence[Wanted], found: list[bytes | Failure]) -> list[bytes | Failure]:
        """Where a table was written again, or its plan is gone, the row itself may say where its image is."""
        again = [at for at, got in enumerate(found) if isinstance(got, Failure) and _has_own_address(wanted[at])]
        policy = ReadPolicy.of(self._sources(wanted[again[0]].plan if again else -1))
        uris = [wanted[at].image_uri or "" for at in again]
        for at, data in zip(again, storage.read_many(uris, policy), strict=True):
            found[at] = found[at] if isinstance(data, StorageError) else data
        return found

    def _checked(self, wanted: Sequence[Wanted], found: Sequence[bytes | Failure]) -> list[bytes | Failure]:
        return [got if isinstance(got, Failure) else _same(one, got) for one, got in zip(wanted, found, strict=True)]


_EMPTY = Failure(Stage.READ, Reason.MISSING_IMAGE, "The source has no image at this place any more.")


def _chunks(order: Sequence[int], wanted: Sequence[Wanted]) -> Iterator[list[int]]:
    """Rows that are read at once: few enough, and small enough as far as the source tells."""
    chunk: list[int] = []
    held = 0
    for at in order:
        record = wanted[at].record
        size_bytes = (record.size_bytes if record else None) or 0
        if chunk and (len(chunk) == _CHUNK_ROWS or held + size_bytes > _CHUNK_BYTES):
            yield chunk
            chunk, held = [], 0
        chunk.append(at)
        held += size_bytes
    if chunk:
        yield chunk


def _has_own_address(one: Wanted) -> bool:
    """Whether the row's URI is an object, and not a part of one or what was tried already."""
    return (
        bool(one.image_uri) and "#" not in (one.image_uri or "") and (one.record is None or bool(one.record.container))
    )


def _nowhere(one: Wanted, out: str) -> Failure:
    detail = (
        f"No plan below {out}/_runs tells where {one.id} lies in its source: bring the runs' folders back, or embed "
        "the source to another OUT."
    )
    return Failure(Stage.READ, Reason.NOT_FOUND, detail)


def _same(one: Wanted, data: bytes) -> bytes | Failure:
    """The image, if it is the one that was embedded."""
    if one.image_sha256 is not None and hashlib.sha256(data).hexdigest() == one.image_sha256:
        return data
    detail = f"{one.image_uri} is another image than the one that was embedded. Run `hanclip embed` again."
    return Failure(Stage.READ, Reason.CHANGED, detail)
