"""Gives random access to the current rows of a dataset.

In: a dataset. Out: the table `rows` (`place`, `id`, `source_fingerprint`) in a workspace, and the columns of those rows
that a query over it selects. A place is the number of a row in the dataset; consecutive rows are in the same file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date

import pyarrow as pa

from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import find_current
from pipeline.dataset.outcomes import Outcome, OutcomeFile, RowNumbers, read_rows, tables_behind
from pipeline.dataset.scan import RUN_DATE
from pipeline.scratch.workspace import Workspace

#: The column of places that `read` adds; the source's own columns may have any other name.
PLACE = "hanclip_place"
#: A sample takes runs of this many consecutive rows, so that it reads few row groups.
_RUN_ROWS = 128


class CurrentRows:
    """The current rows of a dataset, usable while `work` is open.

    Args:
        dataset: the dataset.
        work: gets the table.
        ids: those of interest; all if not given.

    Attributes:
        count: how many there are.
    """

    def __init__(self, dataset: Dataset, work: Workspace, ids: Sequence[str] | None = None) -> None:
        self._work = work
        self._files = find_current(dataset, work, ids)
        self._names = set(dataset.identity.schema.names)
        work.execute(
            "CREATE VIEW rows AS SELECT place, id, source_fingerprint FROM outcomes "
            f"SEMI JOIN (SELECT place FROM current WHERE kind = {Outcome.EMBEDDED}) USING (place)"
        )
        [(count,)] = work.rows(f"SELECT count(*) FROM current WHERE kind = {Outcome.EMBEDDED}")
        self.count = int(count)

    def read(self, columns: Sequence[str], sql: str = "SELECT place FROM rows") -> Iterator[pa.Table]:
        """Read columns of the rows whose places `sql` selects, ordered by place, with `PLACE` as the first column.

        `run_date` comes last; other columns that the dataset lacks are left out.
        """
        return self.read_at(columns, self._work.batches(f"SELECT place FROM ({sql}) ORDER BY place"))

    def read_at(self, columns: Sequence[str], places: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
        """Like `read`; `places` has the column `place`, ascending. Uses no query, so several threads may read."""
        names = [name for name in columns if name in self._names]
        dated = RUN_DATE.name in columns

        def read(file: OutcomeFile, rows: RowNumbers) -> pa.Table:
            table = read_rows(file.uri, rows, names).select(names).add_column(0, PLACE, [file.places(rows)])
            day = pa.repeat(pa.scalar(date.fromisoformat(file.run_date)), table.num_rows)
            return table.append_column(RUN_DATE, day) if dated else table

        return tables_behind(places, self._files, read)

    def sample(self, size: int) -> str:
        """A query for about `size` places, in short runs spread evenly over the dataset; the same ones on every run."""
        if self.count <= size:
            return "SELECT place FROM rows"
        every = -(-self.count // size)
        # The middle one of each `every` runs, so that neither end is favoured.
        return (
            "SELECT place FROM (SELECT place, row_number() OVER (ORDER BY place) - 1 AS n FROM rows) "
            f"WHERE (n // {_RUN_ROWS}) % {every} = {every // 2}"
        )

    def named(self, ids: Sequence[str]) -> str:
        """A query for the places of the rows with these ids."""
        self._work.register("named", pa.table({"id": pa.array(ids, pa.string())}))
        return "SELECT place FROM rows SEMI JOIN named USING (id)"
