"""Compares what a collection should hold with what it holds.

In: a dataset, the ids of interest (all, or those that changed), and what the target holds of them. Out: the tables
`send` (`place` of each row to insert or to replace, and whether it is `new`) and `drop` (`id`) of a workspace. Rows are
compared by id and `source_fingerprint`, never by the files that they are in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.curation.current_rows import PLACE, CurrentRows
from pipeline.curation.filter.filtering import filtering
from pipeline.curation.filter.judge import FAILED
from pipeline.curation.filter.rules import WHERE, FilterRule
from pipeline.curation.sync.contract import HELD, SyncColumns, SyncTarget
from pipeline.curation.sync.settings import SyncSettings
from pipeline.dataset.dataset import Dataset
from pipeline.phases import OnPhase, counted
from pipeline.scratch.passes import IdPasses
from pipeline.scratch.spool import spool
from pipeline.scratch.workspace import Workspace

_PLACES = pa.schema([pa.field("place", pa.int64())])
_KEY = "id, source_fingerprint"


class SyncChanges:
    """The rows that differ. Usable while `work` is open.

    Args:
        dataset: the dataset.
        columns: those of the collection.
        work: gets the tables.
        settings: with the condition that rows must meet, if there is one.
        ids: those that may have changed; all if None.
        on_phase: called with the progress.

    Attributes:
        wanted: rows that the collection should hold, of the ids of interest.
        new, replaced, dropped: rows to insert, to replace and to delete.
        compared: rows of the dataset that were compared.
    """

    def __init__(
        self,
        dataset: Dataset,
        columns: SyncColumns,
        work: Workspace,
        settings: SyncSettings,
        ids: Sequence[str] | None,
        on_phase: OnPhase,
    ) -> None:
        self._columns, self._work, self._ids, self._on_phase = columns, work, ids, on_phase
        on_phase("Reading keys", 0, None)
        kept = "" if settings.where is None else f"SEMI JOIN kept USING ({_KEY})"
        if settings.where is not None:
            _store_kept(dataset, settings.where, settings.time_limit_s, work, on_phase)
        self._current = CurrentRows(dataset, work, ids)
        self.wanted = self._current.count
        with IdPasses(work, self.wanted, {"rows": f"{_KEY}, place"}) as passes:
            passes.store("wanted", f"SELECT {_KEY}, place FROM rows {kept}")
        self.new = self.replaced = self.dropped = self.compared = 0

    def compare(self, target: SyncTarget, rows_at_once: int, sample: int | None = None) -> None:
        """Find the differences. `target` is asked for the ids of interest, or for a random `sample` of them."""
        asked = "wanted" if sample is None else "asked"
        if sample is not None:
            self._work.store(asked, f"SELECT * FROM wanted USING SAMPLE reservoir({sample} ROWS)")
            self._ids = [id_ for (id_,) in self._work.rows("SELECT id FROM asked ORDER BY id")]
        on_rows = counted(self._on_phase, "Comparing rows")
        rows = spool(self._work, "held", HELD, self._held(target, rows_at_once), on_rows=on_rows)
        [(wanted,)] = self._work.rows("SELECT count(*) FROM wanted")
        tables = {**dict.fromkeys(("wanted", asked), f"{_KEY}, place"), "held": _KEY}
        with IdPasses(self._work, max(rows, int(wanted)), tables) as passes:
            passes.store("versions", _VERSIONS)
            passes.store("differing", _DIFFERING.format(asked=asked))
            passes.store("unclear", _UNCLEAR)
            self._store_blank("wanted" if sample is not None else "differing")
            passes.store("drop", _DROP)
        self._work.store("send", "SELECT place, new FROM differing ANTI JOIN blank USING (place)")
        [(self.new, self.replaced)] = self._work.rows(
            "SELECT count(*) FILTER (new), count(*) FILTER (NOT new) FROM send"
        )
        [(self.dropped,)] = self._work.rows('SELECT count(*) FROM "drop"')
        [(blank,)] = self._work.rows("SELECT count(*) FROM blank")
        self.wanted = int(wanted) - int(blank)
        self.compared = self.wanted if sample is None else len(self._ids or ())

    @property
    def total(self) -> int:
        """Rows that differ."""
        return self.new + self.replaced + self.dropped

    def rows_to_send(self, new: bool) -> Iterator[pa.Table]:
        """The rows to insert, or to replace, with the columns of the collection."""
        condition = "new" if new else "NOT new"
        for table in self._current.read(self._columns.names, f"SELECT place FROM send WHERE {condition}"):
            yield table.select(self._columns.names)

    def ids_to_clear(self) -> Iterator[list[str]]:
        """The ids to delete before their rows are sent."""
        return self._ids_in("unclear")

    def ids_to_drop(self) -> Iterator[list[str]]:
        """The ids to delete."""
        return self._ids_in("drop")

    def _ids_in(self, table: str) -> Iterator[list[str]]:
        for batch in self._work.batches(f'SELECT id FROM "{table}" ORDER BY id'):
            yield batch["id"].to_pylist()

    def examples(self, limit: int) -> dict[str, list[str]]:
        """Ids of some rows that are missing, stale, or too many."""
        queries = {
            "missing": "SELECT id FROM send JOIN wanted USING (place) WHERE new",
            "stale": "SELECT id FROM send JOIN wanted USING (place) WHERE NOT new",
            "extra": 'SELECT id FROM "drop"',
        }
        return {
            name: [id_ for (id_,) in self._work.rows(f"{sql} ORDER BY id LIMIT {limit}")]
            for name, sql in queries.items()
        }

    def _held(self, target: SyncTarget, rows_at_once: int) -> Iterator[pa.Table]:
        if self._ids is None:
            yield from target.held()
            return
        for first in range(0, len(self._ids), rows_at_once):
            yield target.held_of(self._ids[first : first + rows_at_once])

    def _store_blank(self, table: str) -> None:
        """Make the table `blank`: rows of a table that lack a vector, which no database accepts."""
        names = self._columns.optional
        found = self._current.read(names, f"SELECT place FROM {table}") if names else iter(())
        spool(self._work, "blank", _PLACES, map(_without, found))


#: A database without unique keys holds an id twice after two syncs at the same time; then no version is the right one.
_VERSIONS = """
SELECT id, CASE WHEN count(*) = 1 THEN any_value(source_fingerprint) END AS source_fingerprint FROM held GROUP BY id
"""
_UNCLEAR = "SELECT id FROM versions SEMI JOIN wanted USING (id) WHERE source_fingerprint IS NULL"
_DIFFERING = """
SELECT place, held.id IS NULL AS new FROM {asked} AS wanted LEFT JOIN versions AS held USING (id)
WHERE held.source_fingerprint IS DISTINCT FROM wanted.source_fingerprint
"""
_DROP = """
SELECT id FROM versions ANTI JOIN (SELECT id FROM wanted ANTI JOIN blank USING (place)) AS there USING (id)
"""


def _store_kept(dataset: Dataset, where: str, limit_s: float, work: Workspace, on_phase: OnPhase) -> None:
    """Make the table `kept`: the keys of the rows that meet a condition."""
    rules = [FilterRule(WHERE, where)]
    with filtering(dataset.uri, rules, None, on_phase, limit_s=limit_s) as (_, judged):
        judged.copy(f"SELECT {_KEY} FROM judged WHERE {FAILED} = 0", work.path("kept.parquet"))
    work.view("kept", work.path("kept.parquet"))


def _without(table: pa.Table) -> pa.Table:
    """Places of the rows without one of the vectors, which are all columns but the first."""
    missing = pa.array([False] * table.num_rows)
    for name in table.column_names[1:]:
        missing = pc.or_(missing, table[name].is_null())
    return table.filter(missing).select([PLACE]).rename_columns(_PLACES.names)
