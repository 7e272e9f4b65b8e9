"""Counts what each rule of a filter dropped, alone and together with others.

In: the number of rows that failed each combination of rules. Out: counts. A row for which a rule evaluates to NULL (a
comparison with a missing value) is dropped and counted as `unknown` for that rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from pipeline.errors import RunError


class FailedRows(NamedTuple):
    """Rows that failed the same rules: bit i of `failed` is set if rule i is not true, of `unknown` if it is NULL."""

    failed: int
    unknown: int
    rows: int


@dataclass(frozen=True, slots=True)
class RuleCount:
    """Rows that one rule dropped.

    Attributes:
        name, sql: the rule.
        dropped: rows for which it is not true, whatever the other rules give.
        unknown: of these, rows for which it is NULL.
        alone: of these, rows that all other rules keep, which the filter would keep without this rule.
        first: of these, rows that no earlier rule drops; the sum over all rules is the number of dropped rows.
    """

    name: str
    sql: str
    dropped: int
    unknown: int
    alone: int
    first: int


@dataclass(frozen=True, slots=True)
class FilterCounts:
    """Rows that a filter kept and dropped; `together` has the rows that two rules both drop, by their names."""

    rows: int
    kept: int
    dropped: int
    rules: tuple[RuleCount, ...]
    together: dict[tuple[str, str], int]


def count(rules: Sequence[tuple[str, str]], outcomes: Iterable[FailedRows], rows: int) -> FilterCounts:
    """Count the outcomes; `rules` are names and expressions. Raises RunError unless kept + dropped = rows."""
    outcomes = list(outcomes)
    kept = sum(one.rows for one in outcomes if one.failed == 0)
    dropped = sum(one.rows for one in outcomes if one.failed)
    counted = tuple(_of_rule(place, *rule, outcomes) for place, rule in enumerate(rules))
    if kept + dropped != rows or sum(rule.first for rule in counted) != dropped:
        raise RunError(
            f"{kept:,} kept + {dropped:,} dropped are not the {rows:,} rows: nothing was written. Run the same command "
            "again, and report this if it persists."
        )
    together = {
        (rules[one][0], rules[other][0]): _rows(outcomes, 1 << one | 1 << other)
        for one, other in combinations(range(len(rules)), 2)
    }
    return FilterCounts(rows, kept, dropped, counted, {pair: rows for pair, rows in together.items() if rows})


def first_of(failed: int) -> int:
    """Index of the first rule in a mask."""
    return (failed & -failed).bit_length() - 1


def numbers_of(mask: int) -> list[int]:
    """Indexes of the rules in a mask."""
    return [place for place in range(mask.bit_length()) if mask >> place & 1]


def _of_rule(place: int, name: str, sql: str, outcomes: Sequence[FailedRows]) -> RuleCount:
    bit = 1 << place
    return RuleCount(
        name,
        sql,
        dropped=_rows(outcomes, bit),
        unknown=sum(one.rows for one in outcomes if one.unknown & bit),
        alone=sum(one.rows for one in outcomes if one.failed == bit),
        first=sum(one.rows for one in outcomes if one.failed and first_of(one.failed) == place),
    )


def _rows(outcomes: Iterable[FailedRows], mask: int) -> int:
    return sum(one.rows for one in outcomes if one.failed & mask == mask)
