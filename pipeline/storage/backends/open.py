"""What hanclip needs of a store, and which of the four implementations serves an address.

Backends raise foreign errors; `translated` and `with_retries` stand around every call.
"""

from __future__ import annotations

import pyarrow.fs as pafs

from pipeline.storage.backends.contract import Backend
from pipeline.storage.uris import HTTP_SCHEMES, is_bucket, is_local, normalise, scheme


def backend_for(uri: str) -> Backend:
    """The implementation that serves `uri`. Each loads its client when first used."""
    if is_local(uri):
        from pipeline.storage.backends.local import LOCAL

        return LOCAL
    if is_bucket(uri):
        from pipeline.storage.backends.objects import OBJECTS

        return OBJECTS
    if scheme(uri) in HTTP_SCHEMES:
        from pipeline.storage.backends.http import TRUSTED

        return TRUSTED
    from pipeline.storage.backends.other import OTHER

    return OTHER


def arrow_filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """File system and path for `pyarrow.parquet` and `pyarrow.dataset`.

    What reading through it raises is the store's own error: put `translated(uri)` around it.
    """
    uri = normalise(uri)
    return backend_for(uri).filesystem(uri)
