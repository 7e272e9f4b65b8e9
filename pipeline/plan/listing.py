"""Gathers the records of a source in a local Parquet file, and returns them in plan order.

Plan order is (attempts, container, position, id): single files first, then one container after another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pyarrow as pa

from pipeline.config import RunConfig
from pipeline.records import RECORDS
from pipeline.scratch.passes import IdPasses
from pipeline.scratch.spool import Spool
from pipeline.scratch.workspace import Workspace

#: A listed record, with the number of attempts in earlier runs (0 for a run over the whole source).
LISTED = RECORDS.append(pa.field("attempts", pa.int32(), nullable=False))

_ORDER = "attempts, container NULLS FIRST, position NULLS FIRST, id"

#: The first record with an id keeps it, so that records that are added later, in later rows, change nothing.
_WITH_ROWS = """
WITH repeated AS MATERIALIZED (SELECT id FROM {listing} GROUP BY id HAVING count(*) > 1),
numbered AS (
    SELECT *, row_number() OVER (PARTITION BY id ORDER BY container NULLS FIRST, position NULLS FIRST) AS n
    FROM {listing} SEMI JOIN repeated USING (id)
)
SELECT * EXCLUDE (n) REPLACE (
    CASE WHEN n > 1 THEN concat_ws('#', id, split_part(container, '/', -1), position) ELSE id END AS id
) FROM numbered
UNION ALL BY NAME SELECT * FROM {listing} ANTI JOIN repeated USING (id)
"""


class Listing(Spool):
    """Gathers the records of a source in the table `name`; use as a context manager around the gathering, then read."""

    def __init__(self, work: Workspace, name: str = "listing") -> None:
        super().__init__(work, name, LISTED)

    def add(self, rows: pa.Table | pa.RecordBatch, **constants: int) -> None:
        """Add rows of `records.RECORDS`, or of LISTED if earlier attempts are known."""
        super().add(rows, **{} if "attempts" in rows.schema.names else {"attempts": 0}, **constants)

    def add_rows_to_ids(self) -> None:
        """Put container and row behind each id that an earlier record has, in the order of containers and rows."""
        with self.by_id("*") as passes:
            passes.store(f"{self.name}_unique", _WITH_ROWS.format(listing=self.name))
        self._work.execute(f"CREATE OR REPLACE VIEW {self.name} AS SELECT * FROM {self.name}_unique")

    def by_id(self, columns: str) -> IdPasses:
        """Passes over these columns of the table, for queries that group by id."""
        return IdPasses(self._work, self.rows, {self.name: columns})

    def rows_by_container(self) -> dict[str, int]:
        """Number of records by container."""
        counted = f"SELECT container, count(*) FROM {self.name} WHERE container IS NOT NULL GROUP BY container"
        return dict(self._work.rows(counted))

    def ordered(self) -> Iterator[pa.RecordBatch]:
        """All records in plan order."""
        return self._work.batches(f"SELECT * FROM {self.name} ORDER BY {_ORDER}")


def source_digest(config: RunConfig) -> str:
    """16 hex digits that are equal for runs over the same source: its addresses and how it is read."""
    deciding = {"uris", "format", "id_column", "image_column", "text_column", "fingerprint_column", "limit"}
    tree = config.source.model_dump(mode="json", include=deciding)
    newer = {"split", "records", "unique_ids", "id_prefix", "drop_columns", "captions"}
    tree |= config.source.model_dump(mode="json", include=newer, exclude_defaults=True)
    return hashlib.sha256(json.dumps({**tree, "uris": sorted(tree["uris"])}).encode()).hexdigest()[:16]
