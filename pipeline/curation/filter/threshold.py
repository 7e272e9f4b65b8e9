"""Finds a cut-off that keeps a share of the rows: `keep=30%` of the highest similarities, or of another column.

In: the share, and the rows that the other rules keep. Out: a value of the column, such that the rule `column >= value`
(`<=` where less is better) keeps no fewer rows than requested, and more only if rows share that value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite

import pyarrow as pa

from pipeline import units
from pipeline.curation.filter.columns import FilterColumn
from pipeline.curation.filter.judge import Judge
from pipeline.curation.filter.rules import FilterRule
from pipeline.errors import ConfigError, UsageError
from pipeline.scratch.quoting import quoted_name
from pipeline.scratch.workspace import Workspace
from pipeline.vocabulary import Signal

NAME = "threshold"
#: Frequent columns; the names of others are quoted, since they may be SQL keywords.
_PLAIN = {"similarity", "percentile", "logit", "probability", "margin", "cosine", "image_width", "image_height"}
_WANTED = re.compile(
    r"""(?:("(?:[^"]|"")+"|.+?)\s+)?keep\s*=\s*(\d+(?:\.\d+)?)\s*%(?:\s+(?:of\s+the\s+)?(highest|lowest))?"""
)
#: Columns of which less is better, by table and name.
_LESS_IS_BETTER = {("similarity", "chance"), ("", "image_blank_rows")}
_LESS_IS_BETTER |= {("", signal.column) for signal in (Signal.DARK, Signal.LIGHT, Signal.BORDER)}


@dataclass(frozen=True, slots=True)
class Threshold:
    """The request: keep `share` (above 0, at most 1) of the rows, those with the best values of `column`.

    `lowest` says which are best; None leaves it to the column.
    """

    column: str
    share: float
    lowest: bool | None = None

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """`keep=30%`, or with a column: `percentile keep=30%`, `"price (元)" keep=30% lowest`. Raises ConfigError."""
        match = _WANTED.fullmatch(text.strip())
        share = float(match[2]) / 100 if match else 0.0
        if match is None or not 0 < share <= 1:
            raise ConfigError(
                f"{text!r} is not a threshold: write keep=30%, or 'image_width keep=30%' for another column, with "
                "lowest after it to keep the lowest values."
            )
        column = match[1] or "similarity"
        quoted = len(column) > 1 and column[0] == column[-1] == '"'
        return cls(
            column[1:-1].replace('""', '"') if quoted else column, share, match[3] == "lowest" if match[3] else None
        )


@dataclass(frozen=True, slots=True)
class CutOff:
    """A cut-off, and its effect on the rows that the other rules keep.

    Attributes:
        column: the column.
        value: the worst value that is kept.
        rows: rows that the other rules keep.
        without_value: of these, rows with NULL or NaN, which are dropped.
        above: rows with a better value.
        equal: rows with exactly this value, all of which are kept.
        lowest: the lowest values are the best.
    """

    column: str
    value: float | int | Decimal
    rows: int
    without_value: int
    above: int
    equal: int
    lowest: bool

    @property
    def rule(self) -> FilterRule:
        """The rule as SQL that can be reused: the value has all its digits."""
        name = self.column if self.column in _PLAIN else quoted_name(self.column)
        return FilterRule(NAME, f"{name} {'<=' if self.lowest else '>='} {_literal(self.value)}")


def _literal(value: float | int | Decimal) -> str:
    """The number in SQL, with all its digits."""
    if isinstance(value, Decimal):
        return format(value, "f")
    return repr(value) if isfinite(value) else f"'{value}'::DOUBLE"


def column_of(wanted: Threshold, judge: Judge) -> FilterColumn:
    """The column to cut. Raises UsageError when it does not exist or has no numbers."""
    [rule] = judge.check([FilterRule(NAME, f"{quoted_name(wanted.column)} IS NOT NULL")])
    [column] = rule.columns
    if not any(test(column.type) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)):
        raise UsageError(f"The column {column.name} holds {column.type}, no numbers: choose another for the threshold.")
    return column


def find_cut(wanted: Threshold, column: FilterColumn, work: Workspace) -> CutOff:
    """The cut-off in the table `kept_values` (`Judge.values`). Raises UsageError when no value is a number."""
    [(rows, with_value)] = work.rows("SELECT count(*), count(value) FROM kept_values")
    if not with_value:
        kept = units.count(rows, "row")
        raise UsageError(f"None of the {kept} that the rules keep has a {column.name}: choose another column.")
    lowest = wanted.lowest if wanted.lowest is not None else (column.table, column.source) in _LESS_IS_BETTER
    last = min(max(1, int(wanted.share * rows + 0.5)), with_value) - 1
    order, better = ("ASC", "<") if lowest else ("DESC", ">")
    ordered = f"SELECT value FROM kept_values WHERE value IS NOT NULL ORDER BY value {order} LIMIT 1 OFFSET {last}"
    [(value, above, equal)] = work.rows(
        f"WITH cut AS (SELECT value AS worst FROM ({ordered})) "
        f"SELECT any_value(worst), count(*) FILTER (value {better} worst), count(*) FILTER (value = worst) "
        "FROM kept_values, cut WHERE value IS NOT NULL"
    )
    return CutOff(column.name, value, int(rows), int(rows - with_value), int(above), int(equal), lowest)
