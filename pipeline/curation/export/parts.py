"""Splits a dataset's latest rows into parts of a fixed number of rows, for formats with several files.

Parts are numbered from 0 and are the same on every run. Rows without a chosen vector are left out and counted,
since no consumer accepts null vectors.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.curation.export.columns import choose_columns
from pipeline.curation.export.contract import ExportRequest
from pipeline.curation.values.names import NameRules
from pipeline.curation.vectors import rebatched
from pipeline.dataset.latest_rows import latest

_GROUP_BYTES = 32 * 2**20


class Parts:
    """The parts of one export. Iterate only once.

    Attributes:
        vectors: names of the vector columns.
        dim: length of a vector.
        schema: columns of each part: `id`, the chosen scalar columns, the vectors.
        count, rows, left_out: parts and rows produced so far, and rows without a vector.

    Raises:
        UsageError: the dataset lacks a chosen column or vector, or the consumer refuses a name.
    """

    def __init__(self, request: ExportRequest, rules: NameRules) -> None:
        self._request, self._chosen = request, choose_columns(request, rules)
        self.schema, self.vectors, self.dim = self._chosen.schema, self._chosen.vectors, self._chosen.dim
        self.count = self.rows = self.left_out = 0

    @property
    def scalars(self) -> list[str]:
        """Columns other than the vectors, `id` first."""
        return [name for name in self.schema.names if name not in self.vectors]

    @property
    def group_rows(self) -> int:
        """Rows per row group: about 32 MB of vectors, since readers load a row group at once."""
        return max(1, _GROUP_BYTES // (4 * self.dim * len(self.vectors)))

    def __iter__(self) -> Iterator[pa.Table]:
        for table in rebatched(self.batches(), self._request.options.rows_per_file):
            self.count += 1
            yield table
        if not self.count:  # readers expect a file, and take the columns from it
            self.count = 1
            yield self.schema.empty_table()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The same rows, in batches of the size in which they are read."""
        names = list(self._chosen.source)
        for batch in latest(self._request.out, names):
            kept = batch.select(names).rename_columns(self.schema.names)
            for name in self.vectors:
                kept = kept.filter(pc.is_valid(kept[name])) if kept[name].null_count else kept
            self.rows += kept.num_rows
            self.left_out += batch.num_rows - kept.num_rows
            self._request.on_rows(batch.num_rows)
            yield kept
