"""Exports a Lance table named `hanclip` in a LanceDB database, with ids, columns and vectors in one row.

Lance commits a table as one version; exporting again commits a new version that replaces the old one.
"""

from __future__ import annotations

import os

import pyarrow as pa

from pipeline import storage
from pipeline.curation.export.contract import Exported, ExportRequest
from pipeline.curation.export.parts import Parts
from pipeline.curation.values.lance import NAMES, cause_of, lance_schema, lance_table
from pipeline.errors import RunError

TABLE = "hanclip"


def export(request: ExportRequest) -> Exported:
    """Stream the rows into the table."""
    os.environ.setdefault("LANCE_LOG", "error")  # it warns of each table that is new
    import lancedb  # of the extra sync-lance

    parts = Parts(request, NAMES)
    batches = (batch for rows in parts.batches() for batch in lance_table(pa.Table.from_batches([rows])).to_batches())
    rows = pa.RecordBatchReader.from_batches(lance_schema(parts.schema), batches)
    # Lance reads credentials and endpoint from the usual AWS settings, but rejects an endpoint without TLS by default.
    options = None if storage.is_local(request.dest) else {"allow_http": "true"}
    try:
        lancedb.connect(request.dest, storage_options=options).create_table(TABLE, data=rows, mode="overwrite")
    except (OSError, RuntimeError, ValueError) as error:
        raise RunError(
            f"Lance could not write the table to {storage.printable(request.dest)}: {cause_of(error)}. Correct that, "
            "then run the same command again."
        ) from error
    uri = storage.join(request.dest, f"{TABLE}.lance")
    return Exported({uri: parts.rows}, parts.left_out, f"lancedb.connect({request.dest!r}).open_table({TABLE!r})")
