"""Filters rows of a dataset with a user-supplied SQL condition over its columns.

In: what follows WHERE, such as `vendor = 'twemoji' AND id NOT IN (SELECT id FROM 'left-out.parquet')`. Out: the numbers
of the rows of a block for which it is true. The condition applies to one row at a time: rows come in blocks, so a
subquery may read files, but not the rows.
"""

from __future__ import annotations

from types import TracebackType

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import ConfigError, RunError
from pipeline.scratch.user_sql import require_expression, wide_marks
from pipeline.scratch.workspace import Workspace, widened

_NUMBER, _BLOCK = "_row_number", "hanclip_block"
#: Errors caused by the condition, as opposed to the disk or the memory.
_MISTAKES = (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError)


class RowFilter:
    """Use as a context manager. Without a condition it keeps every row.

    Attributes:
        columns: columns of the dataset that the condition may use; blocks must have them.
    """

    def __init__(self, where: str | None, schema: pa.Schema) -> None:
        """Check the condition against the dataset's `schema`. Raises ConfigError if it is not valid SQL over it."""
        self._where, self._work = where, Workspace()
        condition = (where or "").lower()
        scalars = [field for field in schema if not pa.types.is_fixed_size_list(field.type)]
        self.columns = [field.name for field in scalars if field.name.lower() in condition]
        self._names = ", ".join(field.name for field in scalars)
        try:
            if where is not None:
                require_expression(where, "--where", self._work)
            self.rows(pa.schema(scalars).empty_table())
        except ConfigError:
            self._work.__exit__(None, None, None)
            raise

    def __enter__(self) -> RowFilter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._work.__exit__(kind, error, at)

    def rows(self, table: pa.Table) -> npt.NDArray[np.int64]:
        """Numbers of the rows to keep, ascending."""
        if self._where is None:
            return np.arange(table.num_rows)
        known = table.cast(pa.schema([(field.name, widened(field.type)) for field in table.schema]))
        self._work.register(_BLOCK, known.append_column(_NUMBER, pa.array(np.arange(table.num_rows))))
        sql = f"SELECT {_NUMBER} FROM {_BLOCK} AS rows WHERE ({self._where}\n) ORDER BY {_NUMBER}"
        try:
            kept = self._work.rows(sql)
        except RunError as error:
            if not isinstance(error.__cause__, _MISTAKES):
                raise
            why = f"{error.__cause__}{wide_marks(self._where)}"
            raise ConfigError(
                f"--where {self._where} cannot be used: {why}\nCorrect it; the columns are {self._names}."
            ) from error
        return np.array([number for (number,) in kept], np.int64)
