"""A Lance table named `hanclip` in a LanceDB database: ids, columns and vectors in one row.

Lance commits a table as one version; an export again is a new version that takes the place of the old one.
"""

from __future__ import annotations

import pyarrow as pa

from pipeline import storage
from pipeline.curation.export.parts import Parts
from pipeline.curation.export.registry import Exported, Request
from pipeline.errors import RunError, UsageError

TABLE = "hanclip"


def export(request: Request) -> Exported:
    """Write the table, streamed."""
    try:
        import lancedb
    except ImportError as error:
        raise UsageError("This export needs the package lancedb: pip install lancedb") from error
    parts = Parts(request)
    rows = pa.RecordBatchReader.from_batches(parts.schema, parts.batches())
    # Lance finds credentials and endpoint where all AWS tools do, and refuses an endpoint without TLS unless told.
    options = None if storage.is_local(request.dest) else {"allow_http": "true"}
    try:
        lancedb.connect(request.dest, storage_options=options).create_table(TABLE, data=rows, mode="overwrite")
    except (OSError, RuntimeError, ValueError) as error:
        raise RunError(
            f"Lance did not write the table to {storage.printable(request.dest)} ({type(error).__name__}). Check that "
            "the bucket or folder is there and may be written, then run the same command again; --debug shows Lance's "
            "own words."
        ) from error
    uri = storage.join(request.dest, f"{TABLE}.lance")
    return Exported({uri: parts.rows}, parts.left_out, f"lancedb.connect({request.dest!r}).open_table({TABLE!r})")
