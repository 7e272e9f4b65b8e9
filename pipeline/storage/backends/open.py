"""Chooses the implementation that serves an address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.storage.backends.contract import Backend
from pipeline.storage.uris import HTTP_SCHEMES, is_bucket, is_local, normalise, scheme

if TYPE_CHECKING:
    import pyarrow.fs as pafs


def backend_for(uri: str) -> Backend:
    """The implementation that serves `uri`."""
    # Imported here, so that a role loads the clients of its own addresses alone.
    if is_local(uri):
        from pipeline.storage.backends.local import LOCAL

        return LOCAL
    if is_bucket(uri):
        from pipeline.storage.backends.objects import OBJECTS

        return OBJECTS
    if scheme(uri) in HTTP_SCHEMES:
        from pipeline.storage.backends.http.backend import TRUSTED

        return TRUSTED
    from pipeline.storage.backends.other import OTHER

    return OTHER


def arrow_filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """File system and path for `pyarrow.parquet` and `pyarrow.dataset`.

    Reading through it raises the client's own errors: wrap it in `translated(uri)`.
    """
    uri = normalise(uri)
    return backend_for(uri).filesystem(uri)
