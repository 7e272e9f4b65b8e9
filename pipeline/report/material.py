"""The data behind all sections of a report: the current rows of a dataset, without their vectors.

In: a dataset. Out: DuckDB tables in a workspace: `facts`, the current rows with `place` and their plain columns, and
the tables that other commands derived from the dataset, if any. Counts cover all rows; samples are drawn with fixed
seeds, so the same dataset gives the same report.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline import storage
from pipeline.curation.current_rows import CurrentRows
from pipeline.curation.tables import read_facts
from pipeline.dataset.dataset import Dataset
from pipeline.phases import OnPhase, counted
from pipeline.report.pictures import ShownRow
from pipeline.scratch.spool import Spool
from pipeline.scratch.workspace import Workspace

_COLUMNS = ("id", "source_fingerprint", "image_uri", "image_width", "image_height", "text", "similarity")
_MEMORY_MB = 1024


class Material:
    """Use as a context manager.

    Attributes:
        dataset: the dataset.
        work: the workspace with the tables.
        current: its current rows, for columns that are not in `facts`.
        rows: how many there are.
        on_phase: reports progress.
    """

    def __init__(self, out: str, on_phase: OnPhase) -> None:
        self.dataset, self.on_phase = Dataset.open(out), on_phase
        self._open = ExitStack()

    def __enter__(self) -> Material:
        self.work = self._open.enter_context(Workspace(_MEMORY_MB))
        self.on_phase("finding the current rows", 0, None)
        self.current = CurrentRows(self.dataset, self.work)
        self.rows = self.current.count
        self._copy_facts()
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    def _copy_facts(self) -> None:
        names = [name for name in _COLUMNS if self.has(name)]
        place = pa.field("place", pa.int64())
        schema = pa.schema([place, *(self.dataset.identity.schema.field(name) for name in names)])
        on_rows = counted(self.on_phase, "reading rows", self.rows)
        with Spool(self.work, "facts", schema) as facts:
            for table in self.current.read(names):
                facts.add(table)
                on_rows(table.num_rows)

    def has(self, column: str) -> bool:
        """Whether the dataset has this column."""
        return column in self.dataset.identity.schema.names

    def derived(self, name: str, uri: str) -> dict[str, Any] | None:
        """Make a derived table available as `name`; returns its facts, or None if it does not exist."""
        facts = read_facts(uri)
        if facts is not None:
            filesystem, path = storage.arrow_filesystem(uri)
            with storage.translated(uri):
                self.work.register(name, pads.dataset(path, filesystem=filesystem))
        return facts

    def one(self, sql: str) -> tuple[Any, ...]:
        """The only row of a result."""
        [row] = self.work.rows(sql)
        return row

    def shown(self, sql: str) -> list[ShownRow]:
        """Rows to show: `sql` selects id, source_fingerprint, text, note and marked."""
        return [ShownRow(*row) for row in self.work.rows(sql)]

    @property
    def similarity_sql(self) -> str:
        """A row's similarity in SQL, formatted for a page; null if there is none."""
        return "replace(format('{:.3f}', similarity), '-', '\N{MINUS SIGN}')"

    @property
    def text_sql(self) -> str:
        """The caption in SQL; null in a dataset without texts."""
        return "text" if self.has("text") else "NULL"


def spread(values: Sequence[Any], count: int) -> list[Any]:
    """`count` of the values, evenly spaced, first and last included."""
    if len(values) <= count:
        return list(values)
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]
