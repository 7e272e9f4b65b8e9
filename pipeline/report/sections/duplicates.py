"""Groups of duplicates found by `hanclip dedup`.

In: the table of duplicates, if it is about the current rows. Out: counts over all its rows, and the first groups in two
orders: the largest, and those with a pair nearest to the threshold. The pages of `report/duplicates` show all groups.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.report.duplicates.groups import MOST_OF_A_GROUP, GroupOrder, ReportedGroup, ordered, prepare, read_groups
from pipeline.report.material import Material

_GROUPS, _PER_GROUP = 4, 8


@dataclass(frozen=True, slots=True)
class DuplicatesSection:
    """The section. rows = kept + dropped; `rungs` count dropped rows.

    Attributes:
        groups: groups of two rows or more.
        listed: groups with a dropped row, and rows that were dropped for one of another dataset.
        largest: rows of the largest.
        near, large: the first groups in each order.
    """

    rows: int
    kept: int
    dropped: int
    groups: int
    listed: int
    largest: int
    rungs: list[tuple[str, int]]
    near: list[ReportedGroup]
    large: list[ReportedGroup]


def duplicates(material: Material) -> DuplicatesSection | None:
    """The section; None without a table of duplicates, and if it is not about the current rows."""
    if not material.duplicates.current:
        return None
    prepare(material)
    groups, largest = material.one("SELECT count(DISTINCT name), coalesce(max(size), 0) FROM grouped")
    rungs = material.work.rows("SELECT rung, count(*) AS n FROM dropped GROUP BY rung ORDER BY n DESC, rung")
    dropped = sum(int(n) for _, n in rungs)
    return DuplicatesSection(
        rows=material.rows,
        kept=material.rows - dropped,
        dropped=dropped,
        groups=int(groups),
        listed=int(material.one("SELECT count(DISTINCT key) FROM dropped")[0]),
        largest=int(largest),
        rungs=[(str(rung), int(n)) for rung, n in rungs],
        near=_first(material, "near"),
        large=_first(material, "size"),
    )


def _first(material: Material, order: GroupOrder) -> list[ReportedGroup]:
    keys = ordered(material, order, _GROUPS * MOST_OF_A_GROUP)[:_GROUPS]
    return read_groups(material, keys, _PER_GROUP)
