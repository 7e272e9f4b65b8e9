"""Reads what an earlier run decided: the rows that it kept, and the names of its groups.

In: the table of duplicates that is there, from this version or an earlier one. Out: a table `earlier` in the workspace,
`row`, `_kept` and `_name`, for the rows that are still in the same state.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.curation.dedup.rows import Rows
from pipeline.curation.tables import read_facts
from pipeline.errors import RunError
from pipeline.scratch.spool import spool
from pipeline.scratch.workspace import BATCH_ROWS

_COLUMNS = ("id", "source_fingerprint", "group", "keep")
_SCHEMA = pa.schema(
    [("id", pa.string()), ("source_fingerprint", pa.string()), ("group", pa.string()), ("keep", pa.bool_())]
)
_NOTHING = "SELECT 0::BIGINT AS row, false AS _kept, NULL::VARCHAR AS _name WHERE false"
_HERE = (
    'SELECT rows.row, decided.keep AS _kept, decided."group" AS _name '
    "FROM rows JOIN decided USING (id, source_fingerprint) WHERE rows.row < {own}"
)


def read_earlier(uri: str, rows: Rows, reconsider: bool) -> dict[str, Any] | None:
    """Make the table `earlier`; it is empty without a table at `uri`, or if all is to be decided anew.

    Returns the facts of the table that was read, None without one.

    Raises:
        RunError: the table is not one of duplicates, or damaged.
    """
    if reconsider or not storage.exists(uri):
        rows.work.store("earlier", _NOTHING)
        return None
    try:
        facts = read_facts(uri)
    except RunError as error:
        raise _unknown(uri, error.__cause__ or error) from error
    try:
        with storage.open_seekable(uri) as source:
            batches = pq.ParquetFile(source).iter_batches(BATCH_ROWS, columns=list(_COLUMNS))
            spool(rows.work, "decided", _SCHEMA, (batch.select(_COLUMNS) for batch in batches))
    except (pa.ArrowException, KeyError) as error:
        raise _unknown(uri, error) from error
    rows.work.store("earlier", _HERE.format(own=rows.own))
    return facts


def _unknown(uri: str, error: BaseException) -> RunError:
    return RunError(
        f"{uri} cannot be read ({error}), so it is unknown which rows an earlier run kept: add --reconsider to decide "
        "all anew."
    )
