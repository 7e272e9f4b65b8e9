"""Keeps containers that cannot be read from refusing the others: each becomes one record, which fails when it is read.

In: the errors of a scan, one per container. Out: those records, and `SourceSpec.damage`, which has the failures. Their
fingerprint is the file's, so a container is tried again by every run and quarantined once per state. A store that is
down says nothing about a container, so its error ends the scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.errors import ContainerError, SourceError, StorageError, UnavailableError
from pipeline.records import Failure, RawRecord, Record
from pipeline.sources.collector import RecordCollector
from pipeline.sources.failures import failed, read_failure
from pipeline.sources.texts import decode_path
from pipeline.storage import ObjectInfo
from pipeline.vocabulary import Reason, Stage

_MARK = "#damaged"
_SHOWN = 3


class Container(NamedTuple):
    """A file of records, and its name in ids."""

    info: ObjectInfo
    name: str


class _Lost(NamedTuple):
    """What of a container cannot be read: all from `position` on, `size_bytes` long if that is known."""

    container: Container
    position: int
    size_bytes: int | None


def fingerprint(info: ObjectInfo, key: str) -> str:
    """The fingerprint of a record whose content has no other one than its container's."""
    content = f"{info.fingerprint}\0{key}".encode("utf-8", "surrogateescape")
    return blake2b(content, digest_size=16).hexdigest()


def is_damage(record: Record) -> bool:
    """Whether a record stands for a container or the rest of one. No sample and no row has such an id and place."""
    apart = record.image_uri or record.text_uri or record.container is None
    return not apart and is_damage_id(record.id, record.container or "")


def is_damage_id(id_: str, container: str) -> bool:
    """Whether this id stands for damage of this container."""
    name = id_.removesuffix(_MARK)
    return name not in ("", id_) and f"/{spelled(container)}".endswith(f"/{name}")


def spelled(container: str) -> str:
    """The address of a container as ids spell it: a path that is not UTF-8 is stored as a URL."""
    return decode_path(storage.normalise(container)) if container.startswith("file://") else container


def damaged(record: Record, known: Mapping[str, Failure]) -> RawRecord:
    """The result of reading a record that `is_damage`, with the failure that the scan found if it is known."""
    failure = known.get(record.container or "")
    if failure is not None:
        return RawRecord(record, failure=failure)
    detail = f"{record.container} is damaged: nothing from position {record.position:,} on could be read. Repair it."
    return failed(record, Reason.UNREADABLE, detail)


class Damage:
    """The containers of one scan that cannot be read, wholly or in part.

    Args:
        config: limits the share that may be bad.
        collector: takes the records of the scan.
        plural: names the containers in messages.

    Attributes:
        failures: for each of them, why.
        notes: sentences about them for the user, complete after `finish`.
    """

    def __init__(self, config: SourceConfig, collector: RecordCollector, plural: str) -> None:
        self._config, self._collector, self._plural = config, collector, plural
        self._seen = 0
        self._bad: dict[str, StorageError | SourceError] = {}
        self._lost: list[_Lost] = []
        self.failures: dict[str, Failure] = {}
        self.notes: list[str] = []

    @contextmanager
    def reading(self, container: Container) -> Iterator[None]:
        """List a container inside: an error that concerns it alone ends the block and makes it a bad one."""
        self._seen += 1
        before = self._collector.rows
        try:
            yield
        except UnavailableError:
            raise
        except (ContainerError, StorageError) as error:
            self._add(container, error, self._collector.rows - before)

    def cut(self, container: Container, error: str, position: int, size_bytes: int | None) -> None:
        """Note a container whose records were listed up to byte `position`; it is usable, and not a bad one."""
        uri, size = container.info.uri, f" ({size_bytes:,} bytes)" if size_bytes else ""
        detail = f"{uri} is damaged: nothing after byte {position:,} could be read{size}. Repair it."
        self.failures[uri] = Failure(Stage.READ, Reason.UNREADABLE, detail)
        self.notes.append(f"{uri} is damaged: {error}.")
        self._lost.append(_Lost(container, position, size_bytes))

    def finish(self) -> None:
        """Add the records that stand for what is lost.

        Raises:
            SourceError, StorageError: nothing else was found, or too large a share of the containers is bad.
        """
        if self._bad:
            self._check()
            shown = " ".join(str(error) for error in islice(self._bad.values(), _SHOWN))
            which = f", such as these {_SHOWN}" if len(self._bad) > _SHOWN else ""
            counted = f"{len(self._bad):,} of {self._seen:,} {self._plural}"
            self.notes.append(f"{counted} cannot be read (to their end) and go to quarantine{which}: {shown}")
        named: set[str] = set()
        for lost in self._lost:
            info, name = lost.container
            key = f"{spelled(info.uri) if name in named else name}{_MARK}"
            named.add(name)
            self._collector.add(key, None, None, info.uri, lost.position, lost.size_bytes, fingerprint(info, key))

    def _add(self, container: Container, error: ContainerError | StorageError, position: int) -> None:
        self._bad[container.info.uri] = error
        found = read_failure(error) if isinstance(error, StorageError) else None
        rest = f" Nothing from row {position:,} on was read." if position else ""
        failure = found or Failure(Stage.READ, Reason.UNREADABLE, str(error))
        where = "" if container.info.uri in failure.detail else f"{container.info.uri}: "
        self.failures[container.info.uri] = replace(failure, detail=f"{where}{failure.detail}{rest}")
        self._lost.append(_Lost(container, position, container.info.size_bytes if position == 0 else None))

    def _check(self) -> None:
        first = next(iter(self._bad.values()))
        if len(self._bad) == self._seen or not self._collector.rows:
            raise first
        most = self._config.max_bad_containers
        if len(self._bad) > most * self._seen:
            shown = "\n".join(f"  {error}" for error in islice(self._bad.values(), _SHOWN))
            raise SourceError(
                f"{len(self._bad):,} of {self._seen:,} {self._plural} cannot be read, a larger share than "
                f"{most:.0%} (source.max_bad_containers), for example:\n{shown}\nRepair or remove them, or run with "
                f"--max-bad-containers {min(1.0, len(self._bad) / self._seen + 0.005):.2f}."
            )
