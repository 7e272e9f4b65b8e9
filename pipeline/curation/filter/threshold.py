"""Finds a cut-off that keeps a share of the rows: `keep=30%` of the highest similarities, or of another column.

In: the share, and the rows that the other rules keep. Out: a value of the column, such that the rule `column >= value`
keeps no fewer rows than requested, and more only if rows share that value.
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
#: Frequent columns; the names of others are quoted, since they may be SQL keywords.
_PLAIN = {"similarity", "percentile", "logit", "probability", "margin", "cosine", "image_width", "image_height"}
_WANTED = re.compile(r"(?:(\w+)\s+)?keep\s*=\s*(\d+(?:\.\d+)?)\s*%")


@dataclass(frozen=True, slots=True)
class Threshold:
    """The request: keep `share` (above 0, at most 1) of the rows, those with the highest values of `column`."""

    column: str
    share: float

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """`keep=30%`, or with a column: `percentile keep=30%`. Raises ConfigError."""
        match = _WANTED.fullmatch(text.strip())
        share = float(match[2]) / 100 if match else 0.0
        if match is None or not 0 < share <= 1:
            raise ConfigError(
                f"{text!r} is not a threshold: write keep=30%, or 'image_width keep=30%' for another column."
            )
        return cls(match[1] or "similarity", share)


@dataclass(frozen=True, slots=True)
class CutOff:
    """A cut-off, and its effect on the rows that the other rules keep.

    Attributes:
        column: the column.
        value: the lowest value that is kept.
        rows: rows that the other rules keep.
        without_value: of these, rows with NULL or NaN, which are dropped.
        above: rows with a higher value.
        equal: rows with exactly this value, all of which are kept.
        nan: whether there are NaNs, which SQL sorts above all numbers.
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
        """The rule as SQL that can be reused: the value has all its digits."""
        name = self.column if self.column in _PLAIN else f'"{self.column}"'
        value = repr(self.value) if isfinite(self.value) else f"'{self.value}'::DOUBLE"
        return FilterRule(NAME, f"{name} >= {value}" + f" AND NOT isnan({name})" * self.nan)


def column_of(wanted: Threshold, judge: Judge) -> FilterColumn:
    """The column to cut. Raises UsageError when it does not exist or has no numbers."""
    [rule] = judge.check([FilterRule(NAME, f'"{wanted.column}" IS NOT NULL')])
    [column] = rule.columns
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise UsageError(f"The column {column.name} holds {column.type}, no numbers: choose another for the threshold.")
    return column


def find_cut(wanted: Threshold, column: FilterColumn, work: Workspace) -> CutOff:
    """The cut-off in the table `kept_values` (`Judge.values`). Raises UsageError when no value is a number."""
    valued = "value IS NOT NULL" + (" AND NOT isnan(value)" if pa.types.is_floating(column.type) else "")
    [(rows, known, with_value)] = work.rows(
        f"SELECT count(*), count(value), count(*) FILTER ({valued}) FROM kept_values"
    )
    if not with_value:
        raise UsageError(f"None of the {rows:,} rows that the rules keep has a {column.name}: choose another column.")
    last = min(max(1, int(wanted.share * rows + 0.5)), with_value) - 1
    ordered = f"SELECT value FROM kept_values WHERE {valued} ORDER BY value DESC LIMIT 1 OFFSET {last}"
    [(value, above, equal)] = work.rows(
        f"WITH cut AS (SELECT value AS lowest FROM ({ordered})) "
        "SELECT any_value(lowest), count(*) FILTER (value > lowest), count(*) FILTER (value = lowest) "
        f"FROM kept_values, cut WHERE {valued}"
    )
    return CutOff(column.name, value, int(rows), int(rows - with_value), int(above), int(equal), known > with_value)
