"""Refuses a source that takes the ids of another source in the same dataset for its own.

In: a listing, and a dataset that runs over other sources wrote to. Rows of one id are states of one record, so a record
of a second source would silently replace that of the first. Sources whose addresses are the same, or differ only in
digits, such as dates, are one source over time. A source is checked until a run of it is in the dataset.

A whole catalog would also mark the ids of sources behind longer prefixes as gone, so it is refused beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline import storage
from pipeline.config import RunConfig, SourceConfig
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.history import stored_config
from pipeline.dataset.outcomes import Outcome, gather
from pipeline.errors import SourceError
from pipeline.plan import log
from pipeline.plan.listing import Listing
from pipeline.scratch.passes import IdPasses
from pipeline.scratch.workspace import Workspace

_DIGITS = re.compile(r"\d+")
#: Ids of the listing that the dataset has in another state, which it does not have as gone.
_TAKEN = f"""
SELECT id FROM (
    SELECT id, place, kind, source_fingerprint AS state, NULL AS listed FROM outcomes
    UNION ALL SELECT id, NULL, NULL, NULL, source_fingerprint FROM listing
) GROUP BY id
HAVING max(place) IS NOT NULL AND max(listed) IS NOT NULL
    AND arg_max(kind, place) <> {Outcome.GONE} AND arg_max(state, place) <> max(listed)
"""


def check_other_sources(listing: Listing, work: Workspace, dataset: Dataset, run: RunConfig) -> None:
    """Raise SourceError if ids of the listing are those of other records: of sources that earlier runs read.

    Args:
        listing: of the run's source, the table `listing` of `work`.
        work: where ids are compared.
        dataset: of earlier runs.
        run: the configuration of the run.
    """
    earlier = list(_earlier_sources(dataset.uri, run.source))
    _check_prefixes(dataset.uri, run.source, earlier)
    own = _places(run.source)
    others = [] if any(own & _places(one) for one in earlier) else earlier
    if run.source.same_records or not others or not gather(dataset, work):
        return
    [(rows,)] = work.rows("SELECT count(*) FROM outcomes")
    tables = {"outcomes": "id, source_fingerprint, place, kind", listing.name: "id, source_fingerprint"}
    with IdPasses(work, int(rows) + listing.rows, tables) as passes:
        passes.store("taken", _TAKEN)
    [(taken, example)] = work.rows("SELECT count(*), min(id) FROM taken")
    if taken:
        known = ", ".join(dict.fromkeys(uri for source in others for uri in source.uris))
        raise SourceError(
            f"{taken:,} of the {listing.rows:,} ids in {', '.join(run.source.uris)} belong to other records in "
            f"{dataset.uri} already, which was made from {known}, for example {example!r}. Rows of one id are states "
            "of one record, so the others would be replaced. Tell the sources apart with --id-prefix NAME/, or write "
            "to another OUT. If these are the same records in a newer state, add --same-records."
        )


def _earlier_sources(out: str, source: SourceConfig) -> list[SourceConfig]:
    """The sources of earlier runs; none if the newest run is of this source, since that run was checked."""
    _, newest = log.newest(out)
    if newest and (last := _source_of(out, newest.run_id)) and _is_like(last, source):
        return []
    found = storage.in_threads(lambda run_id: _source_of(out, run_id), list(layout.runs(out)), 16)
    return [one for one in found if one is not None]


def _is_like(last: SourceConfig, source: SourceConfig) -> bool:
    """Whether what was checked for `last` holds for `source`."""
    return bool(_places(last) & _places(source)) and last.whole_catalog >= source.whole_catalog


def _check_prefixes(out: str, source: SourceConfig, earlier: Iterable[SourceConfig]) -> None:
    """Raise SourceError if a whole catalog has a prefix with which the longer prefix of another source begins."""
    own = source.id_prefix or ""
    inside = {one.id_prefix for one in earlier if one.id_prefix and one.id_prefix.startswith(own)} - {own}
    if source.whole_catalog and inside:
        raise SourceError(
            f"--whole-catalog with {f'--id-prefix {own}' if own else 'no --id-prefix'} would mark the ids of other "
            f"sources in {out} as gone, those behind {', '.join(sorted(map(str, inside)))}. Give each source a prefix "
            "with which no other begins, or leave out --whole-catalog."
        )


def _source_of(out: str, run_id: str) -> SourceConfig | None:
    found = stored_config(out, run_id)
    return found.source if found else None


def _places(source: SourceConfig) -> set[tuple[str, str]]:
    """The addresses of a source, with the same digits, each behind what is in front of the ids."""
    return {(source.id_prefix or "", _DIGITS.sub("0", storage.normalise(uri).rstrip("/"))) for uri in source.uris}
