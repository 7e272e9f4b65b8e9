"""Lists a folder so that the files of one name are near each other, which pairing needs.

In: the address of a folder. Out: its entries; those of a bucket in the order of their keys. A bucket that is known to
list in no order is listed into a scratch folder as a whole and sorted there, so memory is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pyarrow as pa

from pipeline import storage
from pipeline.scratch.spool import spool
from pipeline.scratch.workspace import BATCH_ROWS, Workspace
from pipeline.storage import ObjectInfo, OnSkip

_SCHEMA = pa.schema([("uri", pa.string()), ("size_bytes", pa.int64()), ("fingerprint", pa.string())])


def listed_in_order(uri: str, skip: OnSkip) -> Iterator[ObjectInfo]:
    """Everything below `uri`, as `storage.list_objects` lists it.

    Raises:
        UnsortedError: its bucket lists in no order. This is remembered: listed again, the entries are sorted.
        StorageError: it cannot be listed.
    """
    listed = storage.list_objects(uri, skip)
    if not storage.is_bucket(uri):
        return listed  # a disk is asked for each text, and other stores are walked folder by folder
    return _sorted(listed) if storage.is_unsorted(uri) else storage.in_order(listed, uri)


def _sorted(listed: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
    with Workspace() as work:
        spool(work, "entries", _SCHEMA, _batches(listed))
        for batch in work.batches("SELECT uri, size_bytes, fingerprint FROM entries ORDER BY uri"):
            yield from map(ObjectInfo, *(column.to_pylist() for column in batch.columns))


def _batches(listed: Iterator[ObjectInfo]) -> Iterator[pa.RecordBatch]:
    while some := list(islice(listed, BATCH_ROWS)):
        columns = zip(*some, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)
