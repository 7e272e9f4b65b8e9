"""Describes a column and its parts by queries over one column each.

In: a part of a stored column. Out: profiles of it and of its own parts. Everything that is counted is exact, and the
same on every run. A value is compared by its first characters and its digest, so that long texts need little memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipeline.errors import RunError
from pipeline.report.bins import binned
from pipeline.report.charts import nice_edges
from pipeline.report.columns.parts import Part, plain
from pipeline.report.columns.profile import ColumnProfile, Frequent, Spread, ValueKind
from pipeline.report.columns.texts import number_text, value_text
from pipeline.scratch.workspace import Workspace

_FREQUENT, _TEXT_CHARACTERS, _WHOLE_BYTES = 10, 80, 256
_BINS, _DEPTH = 24, 4
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: An outer bin contains the values beyond it if they would squeeze 98 % of the values into a quarter of the width.
_SQUEEZED, _OUTER = 3, (0.01, 0.99)
#: Elements that are looked at in the lists of one column; if there are more, those of evenly spread rows.
MOST_ELEMENTS = 2_000_000
#: Kinds with distinct and frequent values.
COMPARED = {ValueKind.NUMBER, ValueKind.TIME, ValueKind.CLOCK, ValueKind.BOOLEAN, ValueKind.TEXT}


def describe(work: Workspace, part: Part, own: bool, depth: int = _DEPTH) -> Iterator[ColumnProfile]:
    """Profiles of `part` and then of its parts, down to `depth` levels."""
    try:
        profile = _profile(work, part, own)
        total = _elements(work, part)
    except RunError as error:  # a type that DuckDB cannot compare, or text that is no UTF-8
        yield ColumnProfile(list(part.path), str(part.type), part.kind, own, 0, 0, failure=str(error))
        return
    yield profile
    for inner in part.inner(max(1, -(-total // MOST_ELEMENTS))) if depth > 1 else ():
        yield from describe(work, inner, own, depth - 1)


def _elements(work: Workspace, part: Part) -> int:
    """Elements of all lists together."""
    if part.kind not in {ValueKind.LIST, ValueKind.MAP}:
        return 0
    [(total,)] = work.rows(f"SELECT coalesce(sum({part.measured}), 0) FROM {part.table}")
    return int(total)


def _profile(work: Workspace, part: Part, own: bool) -> ColumnProfile:
    [(rows, filled)] = work.rows(f"SELECT count(*), count({part.sql}) FROM {part.table}")
    distinct, frequent = _frequent(work, part) if filled and part.kind in COMPARED else (None, [])
    return ColumnProfile(
        path=list(part.path),
        type=str(part.type),
        kind=part.kind,
        own=own,
        rows=int(rows),
        nulls=int(rows - filled),
        distinct=distinct if filled else 0 if part.kind in COMPARED else None,
        sampled=int(rows) if part.every > 1 else 0,
        frequent=frequent,
        spread=_spread(work, part) if filled else None,
    )


def _frequent(work: Workspace, part: Part) -> tuple[int, list[Frequent]]:
    """The number of distinct values, and the most frequent of those that occur more than once."""
    value, length = part.sql, "0"
    if part.kind in {ValueKind.TIME, ValueKind.CLOCK}:
        value = part.seconds
    elif part.kind == ValueKind.TEXT:
        value, length = f"({part.sql})::VARCHAR", f"length(({part.sql})::VARCHAR)"
    elif part.kind == ValueKind.NUMBER:
        value = f"({part.sql})::VARCHAR"
    long = f"left({value}, {_TEXT_CHARACTERS}) || chr(10) || md5({value})"
    key = (
        f"CASE WHEN strlen({value}) > {_WHOLE_BYTES} THEN {long} ELSE {value} END"
        if part.kind == ValueKind.TEXT
        else value
    )
    found = work.rows(
        f"""
        WITH grouped AS MATERIALIZED (
            SELECT {key} AS k, count(*) AS n, max({length}) AS length FROM {part.table}
            WHERE ({part.sql}) IS NOT NULL GROUP BY k
        )
        SELECT (SELECT count(*) FROM grouped), k, n, length FROM grouped ORDER BY n DESC, k LIMIT {_FREQUENT}
        """
    )
    return int(found[0][0]), [_value(part, *row) for _, *row in found if row[1] > 1 or found[0][0] <= _FREQUENT]


def _value(part: Part, value: Any, rows: int, length: int) -> Frequent:
    if part.kind == ValueKind.TEXT:
        return Frequent(str(value)[:_TEXT_CHARACTERS], int(rows), int(length))
    if part.kind in {ValueKind.TIME, ValueKind.CLOCK} and value is not None:
        text = value_text(value, part.kind, part.type)
    else:
        text = str(value).lower() if part.kind == ValueKind.BOOLEAN else _grouped(str(value))
    return Frequent(text, int(rows), len(text))


def _grouped(digits: str) -> str:
    """`-1234567.50` -> `−1,234,567.50`: the digits of a decimal or a large integer are kept, unlike in a float."""
    whole, dot, fraction = digits.partition(".")
    if not whole.lstrip("-").isdigit():
        return digits
    text = f"{int(whole):,}" if whole != "-0" else whole
    return f"{text}{dot}{fraction}".replace("-", "\N{MINUS SIGN}")


def _spread(work: Workspace, part: Part) -> Spread | None:
    source = f"(SELECT {part.measured} AS m, {part.sql} AS v FROM {part.table} WHERE ({part.sql}) IS NOT NULL)"
    names = [*_QUANTILES, *_OUTER]
    [(count, least, greatest, mean, values, odd)] = work.rows(
        f"SELECT count(m), min(m), max(m), avg(m), quantile_cont(m, {names}), count(*) - count(m) FROM {source}"
    )
    if not count:
        return None
    low, high = _range(least, greatest, *values[-2:])
    edges = _edges(part, low, high)
    bins, beyond = binned(work, "m", source, edges)
    return Spread(
        least=value_text(least, part.kind, part.type),
        values=[value_text(value, part.kind, part.type) for value in values[: len(_QUANTILES)]],
        greatest=value_text(greatest, part.kind, part.type),
        mean="" if part.kind in {ValueKind.TIME, ValueKind.CLOCK} else number_text(float(f"{mean:.6g}")),
        edges=[value_text(edge, part.kind, part.type) for edge in edges],
        bins=bins,
        beyond=beyond,
        not_finite=int(odd),
    )


def _range(least: float, greatest: float, low: float, high: float) -> tuple[float, float]:
    """What the bins cover: everything, unless few far values would squeeze the others."""
    # quantiles of equal values are interpolated, and may differ from these in the last bit
    low, high = sorted(min(max(value, least), greatest) for value in (low, high))
    width = (high - low) or 1.0
    return (
        low if low - least > _SQUEEZED * width else least,
        high if greatest - high > _SQUEEZED * width else greatest,
    )


def _edges(part: Part, low: float, high: float) -> list[float]:
    """Edges of the bins: at round numbers, and no bins between whole numbers or days."""
    unit = {ValueKind.NUMBER: 0.0, ValueKind.TIME: 86400.0, ValueKind.CLOCK: 60.0}.get(part.kind, 1.0)
    if pa.types.is_integer(plain(part.type)):
        unit = 1.0
    steps = math.floor((high - low) / unit) + 1 if unit else math.inf
    if isinstance(steps, int) and steps <= _BINS and high < 2**53:
        return [math.floor(low / unit) * unit + unit * i for i in range(steps + 1)]
    if part.kind in {ValueKind.NUMBER, ValueKind.LIST, ValueKind.MAP, ValueKind.TEXT, ValueKind.BINARY}:
        edges = nice_edges(low, high, _BINS)
        return edges if edges[0] + (edges[1] - edges[0]) > edges[0] else [low, math.nextafter(high, math.inf)]
    width = max(high - low, unit) / _BINS
    return [low + width * i for i in range(_BINS + 1)]
