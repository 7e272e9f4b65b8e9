"""Arrow datasets over exactly the given Parquet files. No file is opened before the dataset is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import reduce
from operator import and_
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline import storage
from pipeline.dataset.layout import DataFile

RUN_DATE = pa.field("run_date", pa.date32())


def scan(files: Iterable[DataFile], columns: pa.Schema) -> pads.Dataset:
    """Columns of these files of an output dataset, with `run_date`."""
    dated = [(file.uri, {RUN_DATE.name: date.fromisoformat(file.run_date)}) for file in files]
    return scan_files(dated, columns.append(RUN_DATE))


def scan_files(files: Sequence[tuple[str, Mapping[str, Any]]], schema: pa.Schema) -> pads.Dataset:
    """The rows of these files, which lie in one store.

    Args:
        files: URI of each file, and the value of each column that is constant in it and not stored.
        schema: columns of the rows, the constant ones included.
    """
    if not files:
        return pads.dataset(schema.empty_table())
    first, _ = files[0]
    filesystem, path = storage.arrow_filesystem(first)
    scheme = first.removesuffix(path)
    return pads.FileSystemDataset.from_paths(
        [uri.removeprefix(scheme) for uri, _ in files],
        schema=schema,
        format=pads.ParquetFileFormat(),
        filesystem=filesystem,
        partitions=[_partition(constants) for _, constants in files],
    )


def choose(full: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    """The fields of `columns`, or all of them for None."""
    return full if columns is None else pa.schema([full.field(name) for name in columns])


def _partition(constants: Mapping[str, Any]) -> pads.Expression:
    return reduce(and_, (pads.field(name) == value for name, value in constants.items()))
