"""Puts names in front of ids, of containers (`--unique-ids container`) or of a source (`--id-prefix`), and off again.

In: batches of a scan. Out: the same with other ids, which no other container or source has. Readers compare a record
with the source, so they get the source's own id back. `plan.listing` marks repeated ids with their row (`--unique-ids
row`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pyarrow as pa

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.records import RECORDS, Record
from pipeline.sources.containers.damage import is_damage_id, spelled
from pipeline.sources.contract import Sink


def in_front(sink: Sink, config: SourceConfig) -> Sink:
    """A sink that hands batches on with the ids that `config` asks for: `<id_prefix><container>#<id>`.

    Records without a container have no such name, and ids of damage stay as they are.
    """
    name = cache(lambda container: f"{_name(spelled(container), config.uris)}#")
    if prefix := config.id_prefix:
        sink = _renaming(sink, lambda id_, _: f"{prefix}{id_}")
    if config.unique_ids == "container":
        sink = _renaming(sink, lambda id_, container: id_ if container is None else f"{name(container)}{id_}")
    return sink


def _renaming(sink: Sink, new: Callable[[str, str | None], str]) -> Sink:
    def emit(batch: pa.RecordBatch) -> None:
        pairs = zip(batch["id"].to_pylist(), batch["container"].to_pylist(), strict=True)
        ids = [
            id_ if container is not None and is_damage_id(id_, container) else new(id_, container)
            for id_, container in pairs
        ]
        columns = [pa.array(ids, pa.string()), *batch.columns[1:]]
        sink(pa.RecordBatch.from_arrays(columns, schema=RECORDS))

    return emit


def own_id(record: Record, config: SourceConfig) -> str:
    """The id of a planned record in its source."""
    id_ = record.id.removeprefix(config.id_prefix or "")
    if record.container is None or config.unique_ids is None:
        return id_
    if config.unique_ids == "row":
        return id_.removesuffix(f"#{storage.name(record.container)}#{record.position}")
    folders = spelled(record.container).split("/")
    names = ("/".join(folders[depth:]) for depth in range(len(folders)))
    return next((id_[len(name) + 1 :] for name in names if id_.startswith(f"{name}#")), id_)


def _name(container: str, uris: Sequence[str]) -> str:
    for uri in uris:
        for folder in (storage.normalise(uri), storage.fixed_folder(uri)):
            if container.startswith(f"{folder.rstrip('/')}/"):
                return container[len(folder.rstrip("/")) + 1 :]
    return storage.name(container)
