"""Writes and reads the manifests of partitions, `OUT/_partitions/<key>.json`: the result of each one's last run.

A manifest is written at the end of a run and replaced as a whole; a run that was stopped leaves the previous one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline import storage
from pipeline.errors import NotFoundError, StorageError

FOLDER = "_partitions"
_READ_AT_ONCE = 16

PartitionStatus = Literal["done", "failed", "empty"]
#: The status of a partition after a run, by the run's state. A run that was stopped or skipped leaves it as it was.
STATUS_AFTER: Mapping[str, PartitionStatus] = {"complete": "done", "empty": "empty", "failed": "failed"}


@dataclass(frozen=True, slots=True)
class PartitionState:
    """The result of the last finished run of a partition.

    Attributes:
        key: the partition's key.
        status: done (every record has an outcome), empty (the source had no records) or failed.
        spec: `spec_digest` of the run.
        input: `input_digest` of the source, taken before the run listed it; empty if unknown.
        rows: records in the source, including those of earlier runs.
        embedded, quarantined: records committed by this run.
        run_id, job_id: of the run; `job_id` is empty for a run outside a job.
        seconds: duration of the run.
        message: why it failed, or a note.
        finished_at: ISO 8601, UTC.
    """

    key: str
    status: PartitionStatus
    spec: str = ""
    input: str = ""
    rows: int = 0
    embedded: int = 0
    quarantined: int = 0
    run_id: str = ""
    job_id: str = ""
    seconds: float = 0.0
    message: str = ""
    finished_at: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def state_uri(out: str, key: str) -> str:
    """URI of a partition's manifest."""
    return storage.join(storage.normalise(out), FOLDER, f"{key}.json")


def write_state(out: str, state: PartitionState) -> None:
    """Replace the manifest of a partition."""
    storage.overwrite(state_uri(out, state.key), storage.json_bytes(state.to_json()))


def read_state(out: str, key: str) -> PartitionState | None:
    """The manifest of one partition, or None."""
    uri = state_uri(out, key)
    try:
        return _state(uri, storage.read_bytes(uri))
    except NotFoundError:
        return None


def read_states(out: str) -> dict[str, PartitionState]:
    """The manifests in `out` by key, sorted; none if there is no dataset yet.

    Raises:
        StorageError: a manifest cannot be read, or is damaged.
    """
    return {state.key: state for state in _read_all(_uris(out))}


def newest_states(out: str) -> Iterator[PartitionState]:
    """The same manifests, the last keys first, read a few at a time, for callers that stop early."""
    uris = _uris(out)[::-1]
    for start in range(0, len(uris), _READ_AT_ONCE):
        yield from _read_all(uris[start : start + _READ_AT_ONCE])


def _uris(out: str) -> list[str]:
    try:
        infos = sorted(storage.list_objects(storage.join(storage.normalise(out), FOLDER)))
    except NotFoundError:
        return []
    return [info.uri for info in infos if info.uri.endswith(".json")]


def _read_all(uris: Sequence[str]) -> Iterator[PartitionState]:
    return map(_state, uris, storage.read_many(uris, storage.DEFAULT_POLICY))


def _state(uri: str, data: bytes | StorageError) -> PartitionState:
    if isinstance(data, StorageError):
        raise data
    try:
        tree = json.loads(data)
        return PartitionState(**{name: tree[name] for name in PartitionState.__slots__ if name in tree})
    except (ValueError, TypeError) as error:
        raise StorageError(f"{uri} is damaged ({error}): delete it to run its partition again.", uri) from error
