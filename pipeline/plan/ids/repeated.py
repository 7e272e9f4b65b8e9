"""Refuses a listing in which several records have one id. The error says where, and what helps this source."""

from __future__ import annotations

from pipeline import units
from pipeline.errors import SourceError
from pipeline.plan.listing import Listing
from pipeline.sources import SourceSpec, holds_shards

_SHOWN = 5

_REPEATED = "SELECT id, count(*) AS n FROM {listing} GROUP BY id HAVING n > 1"
_COUNTS = f"SELECT count(*), coalesce(sum(n - 1), 0) FROM ({_REPEATED})"
_EXAMPLES = f"""
SELECT id, any_value(n), list(DISTINCT coalesce(container, image_uri, text_uri, '?'))[:2]
FROM {{listing}} JOIN ({_REPEATED}) USING (id) GROUP BY id ORDER BY id LIMIT {_SHOWN}
"""
#: Repeated ids of records without a container, and ids that repeat within one.
_KINDS = f"""
SELECT count(*) FILTER (container IS NULL), count(*) FILTER (container IS NOT NULL AND within > 1)
FROM (
    SELECT id, container, count(*) AS within FROM {{listing}} SEMI JOIN ({_REPEATED}) USING (id) GROUP BY id, container
)
"""


def check_unique(listing: Listing, source: SourceSpec) -> None:
    """Raise a SourceError with examples and a cure if several records have the same id."""
    with listing.by_id("id") as passes:
        ids, surplus = passes.totals(_COUNTS.format(listing=listing.name))
    if not ids:
        return
    with listing.by_id("id, container, image_uri, text_uri") as passes:
        examples = sorted(passes.rows(_EXAMPLES.format(listing=listing.name)))[:_SHOWN]
        alone, within = passes.totals(_KINDS.format(listing=listing.name))
    lines = "\n".join(f"  {id_!r}: {n} records, in {' and '.join(sorted(at))}" for id_, n, at in examples)
    raise SourceError(
        f"Found {units.count(ids, 'id')} of more than one record ({units.count(surplus, 'surplus record')}), for "
        f"example:\n{lines}\n"
        f"Ids must be unique: {_cure(alone, within, source)}."
    )


def _cure(alone: int, within: int, source: SourceSpec) -> str:
    if alone:
        return "give the folder above the inputs, below which ids are paths, or leave out one of the inputs"
    if source.config.unique_ids == "row":
        return "rename one of the files, because names and rows are equal too"
    if within or source.config.unique_ids == "container":
        cure = "put their row behind repeated ids with --unique-ids row"
    else:
        cure = "put the name of its file in front of each id with --unique-ids container"
    if holds_shards(source):
        return cure
    return f"name another column with --id-column, {cure}, or leave out one of the inputs"
