"""Every record of a source, gathered in one local Parquet file, checked for duplicates and given back in plan order.

Plan order is (attempts, container, position, id): files of their own first, then container after container.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import SourceError
from pipeline.plan.cutting import is_tar
from pipeline.records import RECORDS
from pipeline.scratch.workspace import BATCH_ROWS, Workspace

#: A record as listed: how often it was tried in earlier runs comes with it (0 for a run over the whole source).
LISTED = RECORDS.append(pa.field("attempts", pa.int32(), nullable=False))

_ORDER = "attempts, container NULLS FIRST, position NULLS FIRST, id"
_SHOWN = 5


class Listing:
    """Gathers records; use as a context manager around the gathering, then read.

    Attributes:
        name: the table that queries find the records in, once they are gathered.
        rows: records gathered so far.
    """

    def __init__(self, work: Workspace, name: str = "listing") -> None:
        self.name = name
        self._work = work
        self._path = work.path(f"{name}.parquet")
        self._writer = pq.ParquetWriter(self._path, LISTED, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []
        self.rows = 0

    def __enter__(self) -> Listing:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._flush()
        self._writer.close()
        self._work.view(self.name, self._path)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows of `schema.RECORDS`, or of LISTED where earlier attempts are known."""
        if "attempts" not in batch.schema.names:
            batch = batch.append_column("attempts", pa.repeat(pa.scalar(0, pa.int32()), batch.num_rows))
        self._waiting.append(batch)
        self.rows += batch.num_rows
        if sum(waiting.num_rows for waiting in self._waiting) >= BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting).select(LISTED.names).cast(LISTED))
            self._waiting = []

    def check_unique(self) -> None:
        """Raise a SourceError that names some of the ids that more than one record has."""
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
            f"{ids} ids belong to more than one record ({surplus} records too many), for example:\n{lines}\n"
            "Ids must be unique: name another column with --id-column, or leave one of the inputs out."
        )

    def tar_rows(self) -> dict[str, int]:
        """Number of records in each tar."""
        counts = self._work.rows(
            f"SELECT container, count(*) FROM {self.name} WHERE contains(lower(container), '.t') GROUP BY container"
        )
        return {container: rows for container, rows in counts if is_tar(container)}

    def ordered(self) -> Iterator[pa.RecordBatch]:
        """All records in plan order."""
        return self._work.batches(f"SELECT * FROM {self.name} ORDER BY {_ORDER}")
