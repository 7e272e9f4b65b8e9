"""Groups of duplicates found by `hanclip dedup`.

In: the table of duplicates, if it exists. Out: counts over all its rows, and some groups to show: for each rung the
largest, the least similar, and some others. A row alone, dropped for one of another dataset, is no group.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.dataset import layout
from pipeline.report.material import Material
from pipeline.report.pictures import ShownRow
from pipeline.report.quantities import decimal
from pipeline.report.wording import Phrase, say

_GROUPS_PER_RUNG, _GROUPS, _PER_GROUP = 6, 18, 8


@dataclass(frozen=True, slots=True)
class Group:
    """One group: its first rows, the kept one first."""

    rung: str
    size: int
    rows: list[ShownRow]


@dataclass(frozen=True, slots=True)
class DuplicatesSection:
    """The section. rows = kept + dropped; `unseen` current rows are not in the table; `rungs` count dropped rows."""

    rows: int
    kept: int
    dropped: int
    groups: int
    largest: int
    unseen: int
    rungs: list[tuple[str, int]]
    shown: list[Group]


def duplicates(material: Material) -> DuplicatesSection | None:
    """The section; None without a table of duplicates."""
    if material.derived("dedup", layout.dedup_uri(material.dataset.uri)) is None:
        return None
    work = material.work
    work.execute(
        'CREATE VIEW alike AS SELECT d.id, d.source_fingerprint, d."group" AS name, rung, cosine, keep, '
        f"{material.text_sql} AS text FROM dedup AS d JOIN facts USING (id, source_fingerprint)"
    )
    rows, kept = material.one("SELECT count(*), count(*) FILTER (keep) FROM alike")
    groups, largest = material.one(
        "SELECT count(*), coalesce(max(n), 0) FROM "
        "(SELECT count(*) AS n FROM alike WHERE name IS NOT NULL GROUP BY name HAVING count(*) > 1)"
    )
    rungs = work.rows(
        "SELECT coalesce(rung, 'unknown'), count(*) AS n FROM alike WHERE NOT keep GROUP BY rung ORDER BY n DESC, rung"
    )
    return DuplicatesSection(
        rows=int(rows),
        kept=int(kept),
        dropped=int(rows) - int(kept),
        groups=int(groups),
        largest=int(largest),
        unseen=material.rows - int(rows),
        rungs=[(str(rung), int(n)) for rung, n in rungs],
        shown=_groups(material),
    )


def _groups(material: Material) -> list[Group]:
    """For each rung the two largest groups, the two least similar, then others in a random but fixed order."""
    chosen = material.work.rows(
        f"""
        WITH sized AS (
            SELECT name, count(*) AS n, min(cosine) AS least, mode(rung ORDER BY rung) FILTER (NOT keep) AS rung
            FROM alike WHERE name IS NOT NULL GROUP BY name HAVING count(*) > 1
        ), ranked AS (
            SELECT *, least(row_number() OVER (PARTITION BY rung ORDER BY n DESC, name),
                            row_number() OVER (PARTITION BY rung ORDER BY least, name)) > 2 AS common,
                   row_number() OVER (PARTITION BY rung ORDER BY md5(name)) AS shuffled FROM sized
        )
        SELECT name, n, rung FROM ranked WHERE NOT common OR shuffled <= {_GROUPS_PER_RUNG}
        QUALIFY row_number() OVER (PARTITION BY rung ORDER BY common, shuffled) <= {_GROUPS_PER_RUNG}
        ORDER BY n DESC, name LIMIT {_GROUPS}
        """
    )
    material.work.execute("CREATE OR REPLACE TABLE chosen (name VARCHAR)")
    for name, _, _ in chosen:
        quoted = str(name).replace("'", "''")
        material.work.execute(f"INSERT INTO chosen VALUES ('{quoted}')")
    rows: dict[str, list[ShownRow]] = {}
    for name, keep, rung, cosine, id_, fingerprint, text in material.work.rows(
        f"""
        SELECT name, keep, rung, cosine, id, source_fingerprint, text
        FROM alike SEMI JOIN chosen USING (name)
        QUALIFY row_number() OVER (PARTITION BY name ORDER BY keep DESC, id) <= {_PER_GROUP}
        ORDER BY name, keep DESC, id
        """
    ):
        rows.setdefault(name, []).append(ShownRow(id_, fingerprint, text, _note(keep, rung, cosine), keep))
    return [Group(str(rung or "unknown"), int(n), rows[name]) for name, n, rung in chosen]


def _note(keep: bool, rung: str, cosine: float | None) -> Phrase:
    if keep:
        return say("duplicates.is_kept")
    if cosine is None:
        return say("duplicates.dropped_by", rung=rung)
    return say("duplicates.dropped_at", rung=rung, cosine=decimal(cosine))
