"""Gathers the records of a source in a local Parquet file, checks their ids, and returns them in plan order.

Plan order is (attempts, container, position, id): single files first, then one container after another.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from pipeline.errors import SourceError
from pipeline.records import RECORDS
from pipeline.scratch.spool import Spool
from pipeline.scratch.workspace import Workspace

#: A listed record, with the number of attempts in earlier runs (0 for a run over the whole source).
LISTED = RECORDS.append(pa.field("attempts", pa.int32(), nullable=False))

_ORDER = "attempts, container NULLS FIRST, position NULLS FIRST, id"
_SHOWN = 5


class Listing(Spool):
    """Gathers the records of a source in the table `name`; use as a context manager around the gathering, then read."""

    def __init__(self, work: Workspace, name: str = "listing") -> None:
        super().__init__(work, name, LISTED)

    def add(self, rows: pa.Table | pa.RecordBatch, **constants: int) -> None:
        """Add rows of `records.RECORDS`, or of LISTED if earlier attempts are known."""
        super().add(rows, **{} if "attempts" in rows.schema.names else {"attempts": 0}, **constants)

    def check_unique(self) -> None:
        """Raise a SourceError with examples if several records have the same id."""
        same = f"SELECT id, count(*) AS n FROM {self.name} GROUP BY id HAVING n > 1"
        [(ids, surplus)] = self._work.rows(f"SELECT count(*), coalesce(sum(n - 1), 0) FROM ({same})")
        if not ids:
            return
        shown = self._work.rows(
            f"SELECT id, any_value(n), list(DISTINCT coalesce(container, image_uri, text_uri, '?'))[:2] "
            f"FROM {self.name} JOIN ({same}) USING (id) GROUP BY id ORDER BY id LIMIT {_SHOWN}"
        )
        lines = "\n".join(f"  {id_!r}: {n} records, in {' and '.join(sorted(at))}" for id_, n, at in shown)
        raise SourceError(
            f"{ids} ids belong to more than one record ({surplus} surplus records), for example:\n{lines}\n"
            "Ids must be unique: name another column with --id-column, or leave out one of the inputs."
        )

    def rows_by_container(self) -> dict[str, int]:
        """Number of records by container."""
        counted = f"SELECT container, count(*) FROM {self.name} WHERE container IS NOT NULL GROUP BY container"
        return dict(self._work.rows(counted))

    def ordered(self) -> Iterator[pa.RecordBatch]:
        """All records in plan order."""
        return self._work.batches(f"SELECT * FROM {self.name} ORDER BY {_ORDER}")
