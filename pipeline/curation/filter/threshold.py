"""A cut-off that keeps a share of the rows: `keep=30%` of the highest similarities, or of another column's values.

In: the share, and the rows that the other rules keep. Out: one of the column's own values, so that the rule
`column >= value` keeps no fewer rows than asked for, and more only where rows share that value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite

import pyarrow as pa

from pipeline.curation.filter.columns import FilterColumn
from pipeline.curation.filter.judge import Judge
from pipeline.curation.filter.rules import FilterRule
from pipeline.errors import ConfigError, UsageError
from pipeline.scratch.workspace import Workspace

NAME = "threshold"
#: Columns that are often cut; others are quoted, since their names may be words of SQL.
_PLAIN = {"similarity", "percentile", "logit", "probability", "margin", "cosine", "image_width", "image_height"}
_WANTED = re.compile(r"(?:(\w+)\s+)?keep\s*=\s*(\d+(?:\.\d+)?)\s*%")


@dataclass(frozen=True, slots=True)
class Threshold:
    """What was asked for: keep `share` (above 0, at most 1) of the rows, those with the highest values of `column`."""

    column: str
    share: float

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """`keep=30%`, or with a column: `percentile keep=30%`. Raises ConfigError."""
        match = _WANTED.fullmatch(text.strip())
        share = float(match[2]) / 100 if match else 0.0
        if match is None or not 0 < share <= 1:
            raise ConfigError(
                f"{text!r} is no threshold: write keep=30%, or 'image_width keep=30%' for another column."
            )
        return cls(match[1] or "similarity", share)


@dataclass(frozen=True, slots=True)
class CutOff:
    """A cut-off, and what it means among the rows that the other rules keep.

    Attributes:
        column: what is cut.
        value: the lowest value that is kept.
        rows: rows that the other rules keep.
        without_value: of these, rows that have no value, or one that is no number, and are dropped.
        nan: whether some are no numbers, which SQL takes for larger than any.
        above: rows with a higher value; equal: rows with this very value, which are kept all.
    """

    column: str
    value: float | int
    rows: int
    without_value: int
    above: int
    equal: int
    nan: bool

    @property
    def rule(self) -> FilterRule:
        """As SQL that anybody may use again: every digit of the value is there."""
        name = self.column if self.column in _PLAIN else f'"{self.column}"'
        value = repr(self.value) if isfinite(self.value) else f"'{self.value}'::DOUBLE"
        return FilterRule(NAME, f"{name} >= {value}" + f" AND NOT isnan({name})" * self.nan)


def column_of(wanted: Threshold, judge: Judge) -> FilterColumn:
    """The column to cut. Raises UsageError when there is no such one, or it holds no numbers."""
    [rule] = judge.check([FilterRule(NAME, f'"{wanted.column}" IS NOT NULL')])
    [column] = rule.columns
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise UsageError(f"The column {column.name} holds {column.type}, no numbers: choose another for the threshold.")
    return column


def find_cut(wanted: Threshold, column: FilterColumn, work: Workspace) -> CutOff:
    """The cut-off among the table `kept_values` (`Judge.values`). Raises UsageError when none of them is a number."""
    valued = "value IS NOT NULL" + (" AND NOT isnan(value)" if pa.types.is_floating(column.type) else "")
    [(rows, known, with_value)] = work.rows(
        f"SELECT count(*), count(value), count(*) FILTER ({valued}) FROM kept_values"
    )
    if not with_value:
        raise UsageError(f"None of the {rows:,} rows that the rules keep has a {column.name}: there is nothing to cut.")
    last = min(max(1, int(wanted.share * rows + 0.5)), with_value) - 1
    ordered = f"SELECT value FROM kept_values WHERE {valued} ORDER BY value DESC LIMIT 1 OFFSET {last}"
    [(value, above, equal)] = work.rows(
        f"WITH cut AS (SELECT value AS lowest FROM ({ordered})) "
        "SELECT any_value(lowest), count(*) FILTER (value > lowest), count(*) FILTER (value = lowest) "
        f"FROM kept_values, cut WHERE {valued}"
    )
    return CutOff(column.name, value, int(rows), int(rows - with_value), int(above), int(equal), known > with_value)
