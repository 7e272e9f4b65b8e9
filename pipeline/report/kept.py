"""What a filter kept and dropped, by rule.

In: the table of dropped rows that `hanclip filter` wrote, where the report is told of one. Out: counts that add up to
the current rows, and pictures of what each rule dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.report.material import Material
from pipeline.report.pictures import Shown

#: Column of the table: the first rule that dropped the row.
RULE = "rule"
_SHOWN = 9


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, what it dropped first, and some of it."""

    name: str
    dropped: int
    share: float
    rows: list[Shown]


@dataclass(frozen=True, slots=True)
class Kept:
    """The section. rows = kept + dropped; `strangers` are dropped rows of the table that are not current any more."""

    uri: str
    rows: int
    kept: int
    dropped: int
    strangers: int
    rules: list[Rule]


def kept(material: Material, dropped: str | None) -> Kept | None:
    """The section about the table `dropped`; None without one. Raises UsageError for a table of another kind."""
    if dropped is None:
        return None
    if material.derived("dropped", dropped) is None:
        raise UsageError(f"There is no table {dropped}: name the one that `hanclip filter` wrote.")
    [named] = material.one(
        "SELECT count(*) FROM (DESCRIBE SELECT * FROM dropped) "
        f"WHERE column_name IN ('id', 'source_fingerprint', '{RULE}')"
    )
    if named != 3:
        raise UsageError(f"{dropped} has no columns id, source_fingerprint and {RULE}: name the table of dropped rows.")
    material.work.execute(
        f"CREATE VIEW fallen AS SELECT id, source_fingerprint, {RULE} AS rule, {material.text_sql} AS text "
        "FROM dropped JOIN facts USING (id, source_fingerprint)"
    )
    [rows] = material.one("SELECT count(*) FROM fallen")
    [told] = material.one("SELECT count(*) FROM dropped")
    rules = material.work.rows("SELECT rule, count(*) AS n FROM fallen GROUP BY rule ORDER BY n DESC, rule")
    shown: dict[str, list[Shown]] = {}
    for rule, *row in material.work.rows(
        "SELECT rule, id, source_fingerprint, text, '', false FROM fallen "
        f"QUALIFY row_number() OVER (PARTITION BY rule ORDER BY md5(id), id) <= {_SHOWN} ORDER BY rule, md5(id), id"
    ):
        shown.setdefault(rule, []).append(Shown(*row))
    total = max(1, material.rows)
    found = [Rule(str(name), int(n), int(n) / total, shown.get(name, [])) for name, n in rules]
    return Kept(dropped, material.rows, material.rows - int(rows), int(rows), int(told) - int(rows), found)
