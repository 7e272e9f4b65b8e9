"""What filters kept and dropped, by rule.

In: the tables that `hanclip filter` wrote below the dataset, where there are any. Out: for each filter counts that add
up to its rows, and pictures of what each rule was the first to drop.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline import storage
from pipeline.dataset import layout
from pipeline.report.material import Material
from pipeline.report.pictures import Shown

_MOST_FILTERS, _MOST_RULES, _SHOWN = 3, 8, 9
_TOLD = ("name", "sql", "first", "dropped", "alone", "unknown")
_DROPPED, _KEPT = "/dropped.parquet", "kept.parquet"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name, sql: the rule.
        first: rows that no earlier rule dropped; these add up.
        dropped: rows that it drops, whatever the other rules say.
        alone: rows that only it drops.
        unknown: rows of `dropped` for which it is neither true nor false.
        rows: some of the first, drawn by lot.
    """

    name: str
    sql: str
    first: int
    dropped: int
    alone: int
    unknown: int
    rows: list[Shown]


@dataclass(frozen=True, slots=True)
class Kept:
    """One filter. rows = kept + dropped; `behind` says that the dataset has other rows now."""

    name: str
    rows: int
    kept: int
    dropped: int
    behind: bool
    rules: list[Rule]


def kept(material: Material) -> list[Kept]:
    """The first filters by name."""
    uris = [info.uri for info in layout.objects(material.dataset.uri, "filter") if info.uri.endswith(_DROPPED)]
    found = (_kept(material, uri) for uri in uris[:_MOST_FILTERS])
    return [one for one in found if one is not None]


def _kept(material: Material, uri: str) -> Kept | None:
    """A filter; None for one that was killed before its second table was there."""
    folder = storage.parent(uri)
    facts = material.derived("fallen", uri)
    if facts is None or facts != material.derived("standing", storage.join(folder, _KEPT)):
        return None
    shown: dict[str, list[Shown]] = {}
    for rule, *row in material.work.rows(
        f"SELECT rule, id, source_fingerprint, {material.text_sql}, {_note(material)}, false "
        "FROM fallen JOIN facts USING (id, source_fingerprint) "
        f"QUALIFY row_number() OVER (PARTITION BY rule ORDER BY md5(id), id) <= {_SHOWN} ORDER BY rule, md5(id), id"
    ):
        shown.setdefault(rule, []).append(Shown(*row))
    [strangers] = material.one(
        "SELECT count(*) FROM (SELECT id, source_fingerprint FROM fallen "
        "UNION ALL SELECT id, source_fingerprint FROM standing) ANTI JOIN facts USING (id, source_fingerprint)"
    )
    rules = [
        Rule(**{name: one[name] for name in _TOLD}, rows=shown.get(one["name"], []))
        for one in facts["counts"][:_MOST_RULES]
    ]
    behind = bool(strangers) or facts["rows"] != material.rows
    return Kept(storage.name(folder), facts["rows"], facts["kept"], facts["dropped"], behind, rules)


def _note(material: Material) -> str:
    """What stands below a picture, in SQL: how well it fits its text, where that is known."""
    return f"coalesce({material.similarity_sql}, '')" if material.has("similarity") else "''"
