"""Puts the name of its container in front of each record's id (`--unique-ids container`), and takes names off again.

In: batches of a scan. Out: the same with other ids, which no other container has. Readers compare a record with the
source, so they get the source's own id back. `plan.listing` marks repeated ids with their row (`--unique-ids row`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pyarrow as pa

from pipeline import storage
from pipeline.records import RECORDS, Record
from pipeline.sources.containers.damage import is_damage_id, spelled
from pipeline.sources.contract import Sink
from pipeline.vocabulary import UniqueIds


def in_front(sink: Sink, uris: Sequence[str]) -> Sink:
    """A sink that hands batches on with ids `<container>#<id>`. Records without a container keep theirs.

    Args:
        sink: takes the batches.
        uris: of the source; a container's name is its path below the one that led to it.
    """
    name = cache(lambda container: _name(spelled(container), uris))

    def emit(batch: pa.RecordBatch) -> None:
        pairs = zip(batch["id"].to_pylist(), batch["container"].to_pylist(), strict=True)
        ids = [
            id_ if container is None or is_damage_id(id_, container) else f"{name(container)}#{id_}"
            for id_, container in pairs
        ]
        columns = [pa.array(ids, pa.string()), *batch.columns[1:]]
        sink(pa.RecordBatch.from_arrays(columns, schema=RECORDS))

    return emit


def own_id(record: Record, unique_ids: UniqueIds | None) -> str:
    """The id of a planned record in its source."""
    if record.container is None or unique_ids is None:
        return record.id
    if unique_ids == "row":
        return record.id.removesuffix(f"#{storage.name(record.container)}#{record.position}")
    folders = spelled(record.container).split("/")
    names = ("/".join(folders[depth:]) for depth in range(len(folders)))
    return next((record.id[len(name) + 1 :] for name in names if record.id.startswith(f"{name}#")), record.id)


def _name(container: str, uris: Sequence[str]) -> str:
    for uri in uris:
        for folder in (storage.normalise(uri), storage.fixed_folder(uri)):
            if container.startswith(f"{folder.rstrip('/')}/"):
                return container[len(folder.rstrip("/")) + 1 :]
    return storage.name(container)
