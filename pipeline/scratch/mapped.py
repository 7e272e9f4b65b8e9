"""Keeps rows on the local disk for many reads of a few of them.

In: Arrow batches. Out: the same batches, mapped into memory. Nothing is decoded to read a row, and the system may take
the memory back. The file has no name once it is mapped, and its space is freed with the batches.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from pipeline.scratch.folder import ScratchFolder
from pipeline.scratch.workspace import scratch_errors


def mapped(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """A mapped copy of the batches. Raises RunError: the disk is full."""
    with ScratchFolder() as scratch, scratch_errors(scratch):
        path = str(scratch / "rows.arrow")
        with pa.ipc.new_file(path, schema) as copy:
            for batch in batches:
                copy.write_batch(batch)
        file = pa.ipc.open_file(pa.memory_map(path))
        return [file.get_batch(number) for number in range(file.num_record_batches)]
