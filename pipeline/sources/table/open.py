"""Opens a table file with the implementation that its suffix asks for."""

from __future__ import annotations

from pipeline.sources.containers.compression import SUFFIXES
from pipeline.sources.table.contract import TableFile
from pipeline.sources.table.parquet import ParquetTable
from pipeline.sources.table.text import TextTable
from pipeline.storage import ReadPolicy

PARQUET_SUFFIXES = (".parquet", ".pq", ".parq")
#: A file of JSON can be many other things, so it counts only where nothing else is found.
WEAK_SUFFIXES = (".json", *(f".json{packed}" for packed in SUFFIXES))
_PLAIN_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
TEXT_SUFFIXES = (
    *_PLAIN_SUFFIXES,
    *(f"{suffix}{packed}" for packed in SUFFIXES for suffix in _PLAIN_SUFFIXES),
    *WEAK_SUFFIXES,
)


def open_table(uri: str, policy: ReadPolicy) -> TableFile:
    """The table file at `uri`, read under `policy`.

    Raises:
        SourceError: its content does not match its suffix.
        StorageError: it cannot be opened.
    """
    return (ParquetTable if uri.lower().endswith(PARQUET_SUFFIXES) else TextTable)(uri, policy)
