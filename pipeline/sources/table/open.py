"""The contract of one table file, and which implementation reads it."""

from __future__ import annotations

from pipeline.sources.names import PARQUET_SUFFIXES
from pipeline.sources.table.contract import TableFile
from pipeline.storage import ReadPolicy


def open_table(uri: str, policy: ReadPolicy) -> TableFile:
    """The table file at `uri`, by its suffix; `policy` says how patiently to read it.

    Raises:
        SourceError: it is of another kind than its name says.
        StorageError: it cannot be opened.
    """
    if uri.lower().endswith(PARQUET_SUFFIXES):
        from pipeline.sources.table.parquet import ParquetTable

        return ParquetTable(uri, policy)
    from pipeline.sources.table.text import TextTable

    return TextTable(uri, policy)
