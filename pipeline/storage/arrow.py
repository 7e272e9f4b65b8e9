"""Arrow's view of a store, for Parquet and datasets."""

from __future__ import annotations

import pyarrow.fs as pafs

from pipeline.storage.backend import backend_for
from pipeline.storage.uris import normalise


def arrow_filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """File system and path for `pyarrow.parquet` and `pyarrow.dataset`.

    What reading through it raises is the store's own error: put `translated(uri)` around it.
    """
    uri = normalise(uri)
    return backend_for(uri).filesystem(uri)
