"""Lists the groups of duplicates in an order, each dropped row with the kept one that it duplicates.

In: a workspace with the tables `facts` and `alike`. Out: groups, in one of two orders: the largest first, or first
those with a pair that is nearest to the threshold, where a wrong pair is most likely. A row that was dropped for one of
another dataset, and has no other duplicates, is a group of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from pipeline.report.material import Material
from pipeline.report.pictures import ShownRow
from pipeline.report.quantities import decimal
from pipeline.report.wording import Phrase, say

GroupOrder = Literal["size", "near"]
#: A crowd of copies needs no look at each of them.
MOST_OF_A_GROUP = 60
_BITS = 64
_ORDERS: dict[GroupOrder, str] = {"size": "size DESC, key", "near": "nearest, size DESC, key"}


@dataclass(frozen=True, slots=True)
class KeptRow:
    """A kept row and rows that were dropped for it. `kept` is None if it is in the dataset `elsewhere`, as `id`."""

    id: str
    kept: ShownRow | None
    elsewhere: str
    dropped: list[ShownRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ReportedGroup:
    """A group.

    Attributes:
        name: its name in the table; empty for a row alone.
        size: its rows.
        dropped: how many of them were dropped.
        kept: the kept rows with those that were dropped for them.
        more: dropped rows that are not listed.
    """

    name: str
    size: int
    dropped: int
    kept: list[KeptRow]
    more: int


@dataclass(frozen=True, slots=True)
class GroupKey:
    """A group before its rows are read."""

    key: str
    name: str
    size: int
    dropped: int


def prepare(material: Material) -> None:
    """Create the table `dropped`: a row for each dropped row, with its `key` and its `margin` above the threshold."""
    margin = _margin(material.duplicates.settings)
    material.work.store(
        "dropped",
        "SELECT coalesce('g' || name, 'i' || id) AS key, name, size, id, source_fingerprint, rung, cosine, bits, "
        f"duplicate_of, duplicate_in, coalesce({margin}, 1) AS margin FROM alike WHERE NOT keep",
    )


def _margin(settings: dict[str, Any]) -> str:
    """How far above the threshold a pair is, in SQL; 1 for equal files, pixels or texts."""
    return (
        f"CASE WHEN contains(rung, 'image') THEN cosine - {float(settings['image_cosine'])!r} "
        f"WHEN contains(rung, 'near-text') THEN cosine - {float(settings['text_cosine'])!r} "
        f"WHEN contains(rung, 'mirrored') THEN ({int(settings['mirrored_radius'])} - bits) / {_BITS}.0 "
        f"WHEN contains(rung, 'phash') THEN ({int(settings['phash_radius'])} - bits) / {_BITS}.0 END"
    )


def ordered(material: Material, order: GroupOrder, limit: int) -> list[GroupKey]:
    """The first groups in this order, with about `limit` listed rows in all."""
    keys: list[GroupKey] = []
    listed = 0
    for key, name, size, dropped in material.work.rows(
        f"""
        SELECT key, name, size, dropped FROM (
            SELECT key, any_value(name) AS name, any_value(size) AS size, count(*) AS dropped,
                   min(margin) AS nearest
            FROM dropped GROUP BY key
        ) ORDER BY {_ORDERS[order]} LIMIT {limit}
        """
    ):
        if listed >= limit:
            break
        keys.append(GroupKey(str(key), str(name or ""), int(size), int(dropped)))
        listed += min(int(dropped), MOST_OF_A_GROUP)
    return keys


def read_groups(material: Material, keys: Sequence[GroupKey], most: int = MOST_OF_A_GROUP) -> list[ReportedGroup]:
    """These groups, in this order, each with at most `most` dropped rows: those nearest to the threshold."""
    parts: dict[str, dict[tuple[str, str], KeptRow]] = {one.key: {} for one in keys}
    for key, kept, dropped in _rows(material, keys, most):
        part = parts[key].setdefault((kept.elsewhere, kept.id), kept)
        part.dropped.append(dropped)
    return [
        ReportedGroup(one.name, one.size, one.dropped, list(parts[one.key].values()), max(0, one.dropped - most))
        for one in keys
    ]


def _rows(material: Material, keys: Sequence[GroupKey], most: int) -> Iterator[tuple[str, KeptRow, ShownRow]]:
    material.work.register("chosen", pa.table({"key": pa.array([one.key for one in keys], pa.string())}))
    text = material.text_sql
    for key, rung, cosine, bits, of, elsewhere, kept_state, kept_text, id_, state, caption in material.work.rows(
        f"""
        WITH picked AS (
            SELECT * FROM dropped SEMI JOIN chosen USING (key)
            QUALIFY row_number() OVER (PARTITION BY key ORDER BY margin, id) <= {most}
        ), texts AS (SELECT id, source_fingerprint, {text} AS text FROM facts)
        SELECT key, rung, cosine, bits, duplicate_of, duplicate_in, k.source_fingerprint, k.text, picked.id,
               picked.source_fingerprint, t.text
        FROM picked JOIN texts AS t ON t.id = picked.id AND t.source_fingerprint = picked.source_fingerprint
        LEFT JOIN texts AS k ON k.id = duplicate_of AND duplicate_in IS NULL
        ORDER BY key, duplicate_in, duplicate_of, margin, picked.id
        """
    ):
        is_here = kept_state is not None
        kept = ShownRow(of, kept_state, kept_text, say("duplicates.is_kept"), True) if is_here else None
        note = distance(rung, cosine, bits)
        yield key, KeptRow(str(of or ""), kept, str(elsewhere or "")), ShownRow(id_, state, caption, note)


def distance(rung: str, cosine: float | None, bits: int | None) -> Phrase:
    """Why a row was dropped, and how near it is to the kept one."""
    if bits is not None:
        return say("duplicates.at_bits", rung=rung, bits=int(bits))
    if cosine is None:
        return say("duplicates.dropped_by", rung=rung)
    return say("duplicates.dropped_at", rung=rung, cosine=decimal(cosine, 4))
