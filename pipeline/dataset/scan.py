"""Arrow datasets over exactly the given files of an output dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline import storage
from pipeline.dataset.layout import DataFile

RUN_DATE = pa.field("run_date", pa.date32())


def scan(files: Iterable[DataFile], columns: pa.Schema) -> pads.Dataset:
    """An Arrow dataset over exactly these files; opens none of them yet."""
    full = columns.append(RUN_DATE)
    files = list(files)
    if not files:
        return pads.dataset(full.empty_table())
    filesystem, first = storage.arrow_filesystem(files[0].uri)
    scheme = files[0].uri.removesuffix(first)
    return pads.FileSystemDataset.from_paths(
        [file.uri.removeprefix(scheme) for file in files],
        schema=full,
        format=pads.ParquetFileFormat(),
        filesystem=filesystem,
        partitions=[pads.field("run_date") == pa.scalar(date.fromisoformat(file.run_date)) for file in files],
    )


def choose(full: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    """The fields of `columns`, or all of them for None."""
    return full if columns is None else pa.schema([full.field(name) for name in columns])
