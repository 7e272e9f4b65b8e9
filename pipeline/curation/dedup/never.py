"""Reads the file of pairs that are no duplicates.

In: its address: Parquet or CSV with the columns `id` and `other`, such as rows of `pairs.parquet`, or two ids in each
line. Out: a table of both columns.
"""

from __future__ import annotations

import pyarrow as pa

from pipeline.curation.id_files import IdFile

_CURE = "Give Parquet or CSV with the columns id and other, or two ids in each line."


def read_never(uri: str | None) -> pa.Table | None:
    """The pairs of the file at `uri`; None without one. Raises ConfigError, StorageError."""
    return None if uri is None else IdFile("--not-duplicates", uri, ("id", "other"), _CURE).read()
