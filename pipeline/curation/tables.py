"""Writes tables derived from a dataset, one Parquet file each, and reads their footers.

In: batches of rows that begin with the columns of `KEY`. Out: a file whose footer records how it was made, in
`hanclip.*` entries. Tables are staged on the local disk, so memory use does not grow with them, and uploaded when
complete: a killed writer leaves the previous table in place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import __version__, storage
from pipeline.dataset.footer import decode_footer, encode_footer
from pipeline.errors import NotFoundError, RunError

_GROUP_ROWS = 2**18


def write_table(
    uri: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch | pa.Table], facts: Mapping[str, Any]
) -> int:
    """Write or replace the table at `uri`; returns its number of rows.

    Args:
        uri: the file.
        schema: columns of the table.
        batches: its rows, in order.
        facts: JSON values by name, for the footer.

    Raises:
        StorageError: it cannot be written.
    """
    footer = encode_footer({"version": __version__, **{name: json.dumps(value) for name, value in facts.items()}})
    stamped = schema.with_metadata(footer)
    rows = 0
    with (
        storage.staged_file(uri) as staged,
        pq.ParquetWriter(staged, stamped, compression="zstd", write_page_checksum=True) as file,
    ):
        for batch in batches:
            table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
            file.write_table(table.select(schema.names).cast(schema), row_group_size=_GROUP_ROWS)
            rows += table.num_rows
    return rows


def read_facts(uri: str) -> dict[str, Any] | None:
    """The JSON values in the footer of the table at `uri`; None without one. Raises RunError if it is damaged."""
    filesystem, path = storage.arrow_filesystem(uri)
    try:
        with storage.translated(uri), filesystem.open_input_file(path) as file:
            facts = decode_footer(pq.read_schema(file).metadata)
        return {name: json.loads(value) for name, value in facts.items() if name != "version"}
    except NotFoundError:
        return None
    except (pa.ArrowException, ValueError) as error:
        raise RunError(f"{uri} cannot be read ({error}): delete it and make it again.") from error
