"""Rows that filters kept and dropped, by rule.

In: the tables that `hanclip filter` wrote, if any. Out: for each filter counts that add up to its rows, and rows that
each rule was the first to drop.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline import storage
from pipeline.dataset import layout
from pipeline.report.material import Material
from pipeline.report.pictures import ShownRow

_MOST_FILTERS, _RULES_WITH_PICTURES, _SHOWN = 3, 8, 9
_COUNTS = ("name", "sql", "first", "dropped", "alone", "unknown")
_DROPPED, _KEPT = "/dropped.parquet", "kept.parquet"


@dataclass(frozen=True, slots=True)
class ReportedRule:
    """One rule.

    Attributes:
        name, sql: the rule.
        first: rows that it drops and no earlier rule did; these add up.
        dropped: rows that it drops, regardless of the other rules.
        alone: rows that no other rule drops.
        unknown: rows of `dropped` for which it is neither true nor false.
        rows: a random sample of the first; none of the rules after the first ones.
    """

    name: str
    sql: str
    first: int
    dropped: int
    alone: int
    unknown: int
    rows: list[ShownRow]


@dataclass(frozen=True, slots=True)
class ReportedFilter:
    """One filter. rows = kept + dropped; `behind`: the dataset has changed since."""

    name: str
    rows: int
    kept: int
    dropped: int
    behind: bool
    rules: list[ReportedRule]


def kept(material: Material) -> list[ReportedFilter]:
    """The first filters by name."""
    uris = [info.uri for info in layout.objects(material.dataset.uri, "filter") if info.uri.endswith(_DROPPED)]
    found = (_kept(material, uri) for uri in uris[:_MOST_FILTERS])
    return [one for one in found if one is not None]


def _kept(material: Material, uri: str) -> ReportedFilter | None:
    """A filter; None if it was killed before it wrote its second table, or if another program wrote the first."""
    folder = storage.parent(uri)
    facts = material.derived("dropped_rows", uri)
    if facts is None or "counts" not in facts or facts != material.derived("kept_rows", storage.join(folder, _KEPT)):
        return None
    shown: dict[str, list[ShownRow]] = {}
    for rule, id_, state, text, note, alike in material.work.rows(
        f"""
        SELECT rule, id, source_fingerprint, text, note, alike FROM (
            SELECT rule, id, source_fingerprint, {material.text_sql} AS text, {_note(material)} AS note,
                   coalesce(size - 1, 0) AS alike
            FROM dropped_rows JOIN facts USING (id, source_fingerprint) LEFT JOIN grouped USING (id, source_fingerprint)
            QUALIFY name IS NULL OR row_number() OVER (PARTITION BY rule, name ORDER BY md5(id), id) = 1
        )
        QUALIFY row_number() OVER (PARTITION BY rule ORDER BY md5(id), id) <= {_SHOWN} ORDER BY rule, md5(id), id
        """
    ):
        shown.setdefault(rule, []).append(ShownRow(id_, state, text, note, alike=int(alike)))
    [missing] = material.one(
        "SELECT count(*) FROM (SELECT id, source_fingerprint FROM dropped_rows "
        "UNION ALL SELECT id, source_fingerprint FROM kept_rows) ANTI JOIN facts USING (id, source_fingerprint)"
    )
    rules = [
        ReportedRule(
            **{name: one[name] for name in _COUNTS},
            rows=shown.get(one["name"], []) if place < _RULES_WITH_PICTURES else [],
        )
        for place, one in enumerate(facts["counts"])
    ]
    behind = bool(missing) or facts["rows"] != material.rows
    return ReportedFilter(storage.name(folder), facts["rows"], facts["kept"], facts["dropped"], behind, rules)


def _note(material: Material) -> str:
    """The note below a picture, in SQL: its similarity, if there is one."""
    return f"coalesce({material.similarity_sql}, '')" if material.has("similarity") else "''"
