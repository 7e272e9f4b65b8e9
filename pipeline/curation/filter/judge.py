"""Evaluates every rule on every latest row of a dataset, in bounded memory.

In: checked rules, and the columns that they name. Out: for each row the rules that drop it. A derived table must cover
every row: a row that it lacks (tonight's, in last week's dedup) was never compared, so a stale table is refused, with
the command that updates it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from pipeline import units
from pipeline.curation.filter.columns import LISTED, FilterColumn, FilterColumns, remake
from pipeline.curation.filter.counts import FailedRows, FilterCounts, count
from pipeline.curation.filter.rules import Checker, FilterRule
from pipeline.curation.vectors import KEY
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import latest
from pipeline.dataset.scan import RUN_DATE
from pipeline.errors import RunError, UsageError
from pipeline.phases import OnRows
from pipeline.scratch.quoting import quoted_name
from pipeline.scratch.spool import spool
from pipeline.scratch.user_sql import locked
from pipeline.scratch.workspace import Workspace, widened

#: Columns that no rule can name: the number of a row, and as bits the rules that are not true for it, or NULL.
ROW, FAILED, UNKNOWN = "hanclip_row", "hanclip_failed", "hanclip_unknown"
_KEYS = ", ".join(KEY)
_JUDGED = pa.schema(
    [(ROW, pa.int64()), *((name, pa.string()) for name in KEY), (FAILED, pa.int64()), (UNKNOWN, pa.int64())]
)
_PLACE = "hanclip_place"
_SIMILARITY, _DEDUP = "similarity", "dedup"
_FOUND = "hanclip_found_"


class Judge:
    """Evaluates rules on the latest rows of one dataset. Use as a context manager.

    Args:
        dataset: the dataset.
        work: gets the tables `rows` and `judged`, both numbered by ROW.
        limit_s: evaluating the rules may take this long.
        ids: if given, rules can name the column LISTED: whether a row has one of these ids.

    Attributes:
        columns: the columns that rules can name.
        total: number of rows.
    """

    def __init__(self, dataset: Dataset, work: Workspace, limit_s: float, ids: pa.Array | None = None) -> None:
        self._dataset, self._work, self._limit_s, self._ids = dataset, work, limit_s, ids
        self._locked = locked(json_errors=True)
        self.columns = FilterColumns.of(dataset)
        if ids is not None:
            self.columns.by_name[LISTED] = FilterColumn(LISTED, "", LISTED, pa.bool_())
        self._checker = Checker(self._locked, self.columns, limit_s)
        self.total = 0

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *exc: Any) -> None:
        self._locked.__exit__(*exc)

    def check(self, rules: Sequence[FilterRule]) -> list[FilterRule]:
        """The rules with their columns. Raises UsageError for a wrong rule."""
        return self._checker.check(list(rules))

    def load(self, columns: Iterable[FilterColumn], also: Sequence[str], on_rows: OnRows) -> None:
        """Read every latest row: `columns` for the rules, and the dataset's columns named in `also`.

        Raises:
            UsageError: a derived table lacks some of the rows.
        """
        columns = list({column.name: column for column in columns}.values())
        tables = sorted({column.table for column in columns} - {""})
        own = [name for column in columns for name in column.reads]
        own += [_SIMILARITY] if _SIMILARITY in tables else []
        names = [name for name in dict.fromkeys([*KEY, *own, *also]) if name not in (RUN_DATE.name, LISTED)]
        _refuse_alike([*names, ROW, _PLACE, LISTED])
        reader = latest(self._dataset.uri, names)
        kinds = [(field.name, widened(field.type)) for field in reader.schema]
        kinds += [(LISTED, pa.bool_())] if self._ids is not None else []
        batches = reader if self._ids is None else _listed(reader, self._ids)
        self.total = spool(self._work, "rows", pa.schema([*kinds, (ROW, pa.int64())]), batches, ROW, on_rows)
        if tables:
            self._join(columns, tables)
        path = self._work.path("joined.parquet" if tables else "rows.parquet")
        loaded = pads.dataset(path, format="parquet")
        self._locked.register("hanclip_loaded", loaded)
        computed = "".join(f', {one.computed.sql} AS "{one.name}"' for one in columns if one.computed)
        rows = f"SELECT {_without_nan(loaded.schema)}"
        self._locked.execute(f"CREATE OR REPLACE TEMP VIEW loaded AS SELECT *{computed} FROM ({rows})")

    def _join(self, columns: Sequence[FilterColumn], tables: Sequence[str]) -> None:
        """Make the table `joined`: each row with the tables' columns for it, under the names that rules use.

        It is stored, so that the rules do not repeat the join.
        """
        for table in tables:
            self._work.register(f"hanclip_{table}", self.columns.tables[table])
        self._work.store("joined", _joined(columns, tables))
        for table in tables:
            self._refuse_gaps(table)

    def judge(self, rules: Sequence[FilterRule]) -> FilterCounts:
        """Make the table `judged`: ROW, the key, FAILED and UNKNOWN of every row.

        Raises:
            UsageError: a rule fails on a value.
            RunError: the counts do not add up.
        """
        results = ", ".join(f"({rule.sql}\n) AS hanclip_rule_{place}" for place, rule in enumerate(rules))
        query = f"SELECT {ROW}, {_KEYS}, {results} FROM loaded AS rows"
        bits = f"SELECT {ROW}, {_KEYS}, {_bits(len(rules))} FROM ({query})"
        with self._naming_rule(rules):
            spool(self._work, "judged", _JUDGED, self._locked.batches(bits))
        outcomes = self._work.rows(f"SELECT {FAILED}, {UNKNOWN}, count(*) FROM judged GROUP BY ALL")
        named = [(rule.name, rule.sql) for rule in rules]
        return count(named, [FailedRows(*map(int, row)) for row in outcomes], self.total)

    def values(self, column: FilterColumn, rules: Sequence[FilterRule]) -> None:
        """Make the table `kept_values`: the `value` of `column` in each row that `rules` keep."""
        condition = " AND ".join(f"({rule.sql}\n)" for rule in rules) or "true"
        query = f"SELECT {quoted_name(column.name)} AS value FROM loaded AS rows WHERE {condition}"
        with self._naming_rule(rules):
            spool(self._work, "kept_values", pa.schema([("value", column.type)]), self._locked.batches(query))

    @contextmanager
    def _naming_rule(self, rules: Sequence[FilterRule]) -> Iterator[None]:
        """Turn a RunError into a UsageError that names the rule, if one of the rules causes it."""
        slow = UsageError(
            f"The rules take longer than {self._limit_s:g} s over {units.count(self.total, 'row')}: simplify them, or "
            "raise --time-limit-s."
        )
        try:
            with self._locked.within(self._limit_s, slow):
                yield
        except RunError:
            for rule in rules:
                self._checker.run(rule, "loaded")
            raise

    def _refuse_gaps(self, table: str) -> None:
        # A row without a text has no similarity and is not in the table.
        expected = f"AND {_SIMILARITY} IS NOT NULL" if table == _SIMILARITY else ""
        [(lost, rows)] = self._work.rows(
            f'SELECT count(*) FILTER (NOT "{_FOUND}{table}" {expected}), count(*) FROM joined'
        )
        cure = f"run `{remake(self._dataset.uri, table)}` first"
        if lost:
            of = units.count(self.total, "row")
            raise UsageError(f"The table {table} is stale and lacks {lost:,} of the {of}: {cure}.")
        [(gone,)] = self._work.rows(f'SELECT count(*) FROM "hanclip_{table}" ANTI JOIN rows USING ({_KEYS})')
        if gone and table == _DEDUP:
            # One of them may be the row that was kept of a group, whose other rows would be dropped for nothing.
            raise UsageError(
                f"The table {table} has {units.count(gone, 'row')} that the dataset no longer has: {cure}."
            )
        if rows == self.total:
            return
        same = f'SELECT {_KEYS} FROM "hanclip_{table}" SEMI JOIN rows USING ({_KEYS}) GROUP BY ALL HAVING count(*) > 1'
        [(twice,)] = self._work.rows(f"SELECT count(*) FROM ({same})")
        if twice:
            raise UsageError(f"The table {table} has {units.count(twice, 'row')} more than once: delete it and {cure}.")


def _joined(columns: Sequence[FilterColumn], tables: Sequence[str]) -> str:
    """A query for the rows with the columns of the tables, and whether each table has the row."""
    wanted = [ROW, *KEY, *(name for column in columns for name in column.reads)]
    wanted += [_SIMILARITY] if _SIMILARITY in tables else []
    own = [f"rows.{quoted_name(name)}" for name in dict.fromkeys(wanted)]
    named = [
        f'"hanclip_{column.table}".{quoted_name(column.source)} AS {quoted_name(column.name)}'
        for column in columns
        if column.table
    ]
    found = [f'"hanclip_{table}".id IS NOT NULL AS "{_FOUND}{table}"' for table in tables]
    joins = [
        f'LEFT JOIN "hanclip_{table}" ON ' + " AND ".join(f'rows.{name} = "hanclip_{table}".{name}' for name in KEY)
        for table in tables
    ]
    return f"SELECT {', '.join([*own, *named, *found])} FROM rows {' '.join(joins)}"


def _refuse_alike(names: Sequence[str]) -> None:
    """Raise UsageError for names that differ only in case, or are reserved."""
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise UsageError(
                f"The dataset has more than one column {name.lower()}, or it is reserved: rename it in the source."
            )
        seen.add(name.lower())


def _without_nan(schema: pa.Schema) -> str:
    """The columns with NULL in place of NaN, which SQL sorts above all numbers: it would pass `x > 5`."""
    names = [quoted_name(field.name) for field in schema if pa.types.is_floating(field.type)]
    replaced = [f"CASE WHEN isnan({name}) THEN NULL ELSE {name} END AS {name}" for name in names]
    return f"* REPLACE ({', '.join(replaced)}) FROM hanclip_loaded" if replaced else "* FROM hanclip_loaded"


def _bits(rules: int) -> str:
    """FAILED and UNKNOWN in SQL, from the columns with the result of each rule."""
    columns = []
    for name, condition in ((FAILED, "IS NOT TRUE"), (UNKNOWN, "IS NULL")):
        terms = [f"CASE WHEN hanclip_rule_{place} {condition} THEN {1 << place} ELSE 0 END" for place in range(rules)]
        columns.append(f"({' + '.join(['0::BIGINT', *terms])})::BIGINT AS {name}")
    return ", ".join(columns)


def _listed(batches: Iterable[pa.RecordBatch], ids: pa.Array) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.append_column(LISTED, pc.is_in(batch["id"], ids))
