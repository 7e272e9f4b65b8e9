"""What the points of a map can be coloured by: similarity, duplicates, date, and columns with few values.

In: the rows of the points. Out: for each choice a number from 0 to 254 per point, and what the numbers mean.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.curation.values.json_values import json_values
from pipeline.pages.shared import LANGUAGES
from pipeline.report.columns.profile import ColumnProfile, ValueKind
from pipeline.report.material import Material
from pipeline.report.wording import Phrase, say
from pipeline.visible import visible

_NONE = 255
_MOST_GROUPS, _MOST_COLUMNS, _FEW = 9, 8, 24
_NAME_CHARACTERS = 30


@dataclass(frozen=True, slots=True)
class Colour:
    """One choice.

    Attributes:
        label: what it is.
        values: for each point the number of its group, or its place from `ends[0]` to `ends[1]`; 255 if it has none.
        groups: names of the groups; empty for numbers.
        ends: least and greatest number as text.
        alike: for duplicates the number of each point's group, from 1; 0 if it is in none.
    """

    label: Phrase | str
    values: bytes
    groups: list[Phrase | str]
    ends: tuple[str, str] = ("", "")
    alike: list[int] | None = None

    def for_script(self) -> dict[str, Any]:
        """Plain values; names are in both languages."""
        names = [[_text(name, language) for language in LANGUAGES] for name in self.groups]
        values = base64.b64encode(self.values).decode()
        return {"values": values, "groups": names, "ends": self.ends, "alike": self.alike}


def few_valued(profiles: Sequence[ColumnProfile]) -> list[str]:
    """The first of the source's own columns that have few values."""
    kinds = {ValueKind.TEXT, ValueKind.BOOLEAN, ValueKind.NUMBER, ValueKind.TIME}
    found = [
        one.path[0]
        for one in profiles
        if one.own and len(one.path) == 1 and one.kind in kinds and one.distinct and 2 <= one.distinct <= _FEW
    ]
    return found[:_MOST_COLUMNS]


def colours(material: Material, rows: pa.Table, few: Sequence[str]) -> list[Colour]:
    """All choices for these rows."""
    found = []
    if "similarity" in rows.column_names and rows["similarity"].null_count < rows.num_rows:
        found.append(_similarity(rows["similarity"].to_numpy(zero_copy_only=False)))
    duplicates = _duplicates(material, rows)
    found += [duplicates] if duplicates else []
    dates = [str(day) for day in rows["run_date"].to_pylist()]
    if len(set(dates)) > 1:
        found.append(_grouped(say("map.by_date"), dates, in_order=True))
    return [*found, *(_grouped(name, _texts(rows[name])) for name in few)]


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    """Values as text. Python has neither nanoseconds nor years after 9999."""
    values = json_values(column, decimal=str)
    return [str(one).lower() if isinstance(one, bool) else None if one is None else str(one) for one in values]


def _similarity(values: np.ndarray[Any, np.dtype[Any]]) -> Colour:
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, (0.01, 0.99))
    scaled = np.clip((values - low) / ((high - low) or 1.0), 0, 1) * 254
    numbers = np.where(np.isfinite(values), np.rint(np.nan_to_num(scaled)), _NONE).astype(np.uint8)
    ends = tuple(f"{end:.2f}".replace("-", "\N{MINUS SIGN}") for end in (low, high))
    return Colour(say("map.by_similarity"), numbers.tobytes(), [], (ends[0], ends[1]))


def _grouped(label: Phrase | str, values: Sequence[Any], in_order: bool = False) -> Colour:
    """The most frequent values; all others are one group."""
    counts = Counter(value for value in values if value is not None)
    chosen = [value for value, _ in sorted(counts.items(), key=lambda one: (-one[1], str(one[0])))[:_MOST_GROUPS]]
    chosen = sorted(chosen, key=str) if in_order else chosen
    place = {value: number for number, value in enumerate(chosen)}
    names: list[Phrase | str] = [str(value)[:_NAME_CHARACTERS] for value in chosen]
    if len(counts) > len(chosen):
        names.append(say("map.others", n=len(counts) - len(chosen)))
    numbers = [_NONE if value is None else place.get(value, len(chosen)) for value in values]
    return Colour(label, bytes(numbers), names)


def _duplicates(material: Material, rows: pa.Table) -> Colour | None:
    """Whether each row is alone, kept of a group, or dropped; None without a current table of duplicates."""
    if not material.duplicates.current:
        return None
    material.work.register("points", rows.select(["id", "source_fingerprint"]))
    found = {
        id_: (group, keep)
        for id_, group, keep in material.work.rows(
            'SELECT id, d."group", d.keep FROM points JOIN dedup AS d USING (id, source_fingerprint)'
        )
    }
    known = [found.get(id_, (None, None)) for id_ in rows["id"].to_pylist()]
    groups = {name: number for number, name in enumerate(sorted({one for one, _ in known if one is not None}), 1)}
    states = [_NONE if keep is None else 2 if not keep else 0 if group is None else 1 for group, keep in known]
    names: list[Phrase | str] = [say("map.alone"), say("map.kept"), say("map.dropped")]
    return Colour(say("map.by_duplicates"), bytes(states), names, alike=[groups.get(one, 0) for one, _ in known])


def _text(name: Phrase | str, language: str) -> str:
    return visible(name) if isinstance(name, str) else name.text("zh" if language == "zh" else "en")
