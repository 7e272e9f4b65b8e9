"""The column explorer: every column of the source, and text, size, format and date.

In: profiles of columns. Out: for each a line with its numbers, and what unfolds below it: frequent values, quantiles
and a histogram drawn as one path, so that hundreds of columns stay small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report.columns.profile import ColumnProfile
from pipeline.report.columns.read import ColumnProfiles
from pipeline.report.wording import Phrase, say


@dataclass(frozen=True, slots=True)
class ExploredColumn:
    """A column as it is shown.

    Attributes:
        profile: what is known of it.
        null_share: nulls of its rows.
        path: the outline of its histogram in a box of 100 by 100; empty without one.
        outline: what the histogram shows.
    """

    profile: ColumnProfile
    null_share: float
    path: str
    outline: Phrase | None


@dataclass(frozen=True, slots=True)
class ColumnsSection:
    """The section. `sampled` of `rows` rows were described in detail; `left_out` columns are not shown."""

    columns: list[ExploredColumn]
    rows: int
    sampled: int
    left_out: int
    own: int


def columns(found: ColumnProfiles) -> ColumnsSection | None:
    """The section; None without rows."""
    if not found.rows:
        return None
    own = len({one.path[0] for one in found.columns if one.own})
    return ColumnsSection([_explored(one) for one in found.columns], found.rows, found.sampled, found.left_out, own)


def _explored(profile: ColumnProfile) -> ExploredColumn:
    spread = profile.spread
    share = profile.nulls / profile.rows if profile.rows else 0.0
    if spread is None or len(spread.bins) < 2:
        return ExploredColumn(profile, share, "", None)
    outline = say("columns.outline", column=" › ".join(profile.path), low=spread.edges[0], high=spread.edges[-1])
    return ExploredColumn(profile, share, _path(spread.bins), outline)


def _path(bins: Sequence[int]) -> str:
    """Bars side by side as one path; any value above zero is visible."""
    width, most = 100 / len(bins), max(bins) or 1
    steps = []
    for place, count in enumerate(bins):
        height = max(2.0, 100 * count / most) if count else 0.0
        if height:
            steps.append(f"M{place * width:.5g} 100v{-height:.4g}h{width * 0.9:.4g}V100z")
    return "".join(steps)
