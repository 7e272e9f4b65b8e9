"""What is known of one column: plain values, for the page and for JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class ValueKind(StrEnum):
    """What is measured of a value: itself, or its length."""

    NUMBER = "number"
    TIME = "time"
    CLOCK = "clock"
    BOOLEAN = "boolean"
    TEXT = "text"
    LIST = "list"
    MAP = "map"
    STRUCT = "struct"
    BINARY = "binary"
    NOTHING = "nothing"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Frequent:
    """A value and how many rows have it. `length`: characters of the whole value, of which `text` has the first."""

    text: str
    rows: int
    length: int

    @property
    def is_cut(self) -> bool:
        """Whether `text` is only the beginning."""
        return len(self.text) < self.length


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of a number, a time or a length.

    Attributes:
        values: the 5, 25, 50, 75 and 95 % quantiles as text, between the least and the greatest value.
        mean: as text; empty for times.
        edges: of the bins, as text, one more than there are bins.
        bins: values in each; the outer ones contain everything beyond the edges.
        beyond: values below the first and above the last edge.
        not_finite: values that are NaN, infinite or from 1e150 on, and are in none of the others.
    """

    least: str
    values: list[str]
    greatest: str
    mean: str
    edges: list[str]
    bins: list[int]
    beyond: int
    not_finite: int


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column, a field of a struct, or the elements of a list.

    Attributes:
        path: the column and what of it: a name for each level; `[]` for elements, `{key}` and `{value}` for maps.
        type: as Arrow names it.
        kind: what is measured.
        own: whether it is the source's own column.
        rows: rows, or elements, that were looked at.
        nulls: how many of them are null.
        distinct: distinct values; None where values are not compared.
        distinct_exact: whether `distinct` is exact or estimated.
        sampled: frequent values and the distribution are from this many values; 0 if from all.
        frequent: the most frequent values.
        spread: the distribution of the value, or of its length.
        failure: why it could not be described, if so.
    """

    path: list[str]
    type: str
    kind: ValueKind
    own: bool
    rows: int
    nulls: int
    distinct: int | None = None
    distinct_exact: bool = True
    sampled: int = 0
    frequent: list[Frequent] = field(default_factory=list)
    spread: Spread | None = None
    failure: str = ""
