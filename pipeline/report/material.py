"""The data behind all sections of a report: the current rows of a dataset, without their vectors.

In: a dataset. Out: DuckDB tables in a workspace: `facts`, the current rows with `place` and their plain columns, and
the tables that other commands derived from the dataset, if any. Counts cover all rows; samples are drawn with fixed
seeds, so the same dataset gives the same report.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline import storage
from pipeline.curation.current_rows import CurrentRows
from pipeline.curation.tables import read_facts
from pipeline.dataset.dataset import Dataset
from pipeline.phases import OnPhase, counted
from pipeline.report.alike import open_table
from pipeline.report.pictures import ShownRow
from pipeline.scratch.spool import spool
from pipeline.scratch.workspace import Workspace

_COLUMNS = ("id", "source_fingerprint", "image_uri", "image_width", "image_height", "text", "similarity")
_MEMORY_MB = 1024
#: How many times as many rows as tiles are looked at first, and how many more each time that a crowd fills them.
_FIRST, _MORE = 8, 8


class Material:
    """Use as a context manager.

    Attributes:
        dataset: the dataset.
        work: the workspace with the tables.
        current: its current rows, for columns that are not in `facts`.
        rows: how many there are.
        duplicates: the state of the table of duplicates; its rows are the table `alike`.
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
        self.duplicates = open_table(self.work, self.dataset.uri)
        self.work.execute(
            "CREATE VIEW grouped AS SELECT id, source_fingerprint, name, size FROM alike "
            "WHERE name IS NOT NULL AND size > 1"
        )
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    def _copy_facts(self) -> None:
        names = [name for name in _COLUMNS if self.has(name)]
        place = pa.field("place", pa.int64())
        schema = pa.schema([place, *(self.dataset.identity.schema.field(name) for name in names)])
        on_rows = counted(self.on_phase, "reading rows", self.rows)
        tables = (table.rename_columns(schema.names) for table in self.current.read(names))
        spool(self.work, "facts", schema, tables, on_rows=on_rows)

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

    def wall(self, order: str, count: int, where: str = "true") -> list[ShownRow]:
        """The first `count` rows of `facts` in this order, one of each group of duplicates, with their similarities."""
        limit = _FIRST * count
        note = self.similarity_sql if self.has("similarity") else "''"
        while True:
            rows = self.work.rows(
                f"""
                SELECT id, source_fingerprint, {self.text_sql}, coalesce({note}, ''), coalesce(size - 1, 0) FROM (
                    SELECT * FROM facts WHERE {where} ORDER BY {order}, id LIMIT {limit}
                ) LEFT JOIN grouped USING (id, source_fingerprint)
                QUALIFY name IS NULL OR row_number() OVER (PARTITION BY name ORDER BY {order}, id) = 1
                ORDER BY {order}, id LIMIT {count}
                """
            )
            if len(rows) == count or limit >= self.rows:
                return [ShownRow(id_, state, text, shown, alike=int(alike)) for id_, state, text, shown, alike in rows]
            limit *= _MORE

    @property
    def similarity_sql(self) -> str:
        """A row's similarity in SQL, formatted for a page; null if there is none."""
        return "replace(format('{:.3f}', similarity), '-', '\N{MINUS SIGN}')"

    @property
    def text_sql(self) -> str:
        """The caption in SQL; null in a dataset without texts."""
        return "text" if self.has("text") else "NULL"
