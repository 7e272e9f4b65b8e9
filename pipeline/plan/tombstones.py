"""Records which ids a listing of the whole catalog lacks, and which are back in an earlier state.

In: a listing and a dataset. Out: `_tombstones/<run_id>.parquet`, rows of `schema.TOMBSTONES`, if anything changed, and
the number of ids gone. A row with `gone` has no fingerprint. Any other row has the fingerprint of a state that has
an outcome already and is not embedded again: that state is current again as of this run.

A listing that lacks much of the catalog is more likely broken than right, and is refused.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.footer import encode_footer
from pipeline.dataset.outcomes import Outcome, gather
from pipeline.dataset.schema import TOMBSTONES
from pipeline.errors import SourceError
from pipeline.scratch.passes import IdPasses
from pipeline.scratch.quoting import quoted
from pipeline.scratch.workspace import Workspace
from pipeline.sources import SourceSpec
from pipeline.vocabulary import Skip

#: Kinds of skipped entries that may hold records.
_HIDING = frozenset({Skip.UNREADABLE_FOLDER, Skip.UNREADABLE_FILE})
#: Datasets with fewer ids may lose any share of them.
_FEW_IDS = 100


def record(work: Workspace, dataset: Dataset, source: SourceSpec, run_id: str) -> int:
    """Compare the table `listing` of `work` with `dataset` and store the changes; returns the number of ids gone.

    Args:
        work: holds the listing.
        dataset: output of earlier runs.
        source: nothing is done unless it is a `whole_catalog`.
        run_id: names the file; if empty, nothing is stored.

    Raises:
        SourceError: more than `max_vanished` of the ids are gone.
    """
    config = source.config
    if not config.whole_catalog or not gather(dataset, work):
        return 0
    [(rows,)] = work.rows("SELECT (SELECT count(*) FROM outcomes) + (SELECT count(*) FROM listing)")
    keys = "id, source_fingerprint"
    with IdPasses(work, rows, {"outcomes": f"{keys}, place, kind", "listing": keys}) as passes:
        passes.store("presence", _PRESENCE.format(prefix=quoted(config.id_prefix or "")))
        passes.store("changes", _CHANGES)
    [(live, gone)] = work.rows(
        f"SELECT count(*), count(*) FILTER (listed IS NULL) FROM presence WHERE kind <> {Outcome.GONE}"
    )
    if source.damage or any(one.kind in _HIDING for one in source.skipped):
        gone = 0  # The records in damaged containers and unreadable folders are unknown: no id can be called gone.
    if live >= _FEW_IDS and gone > config.max_vanished * live:
        raise SourceError(
            f"The source lacks {gone:,} of the {live:,} ids in {dataset.uri}: more than the {config.max_vanished:.0%} "
            "that may vanish in one run (source.max_vanished). Nothing was changed. Check the source; if they are "
            f"really gone, run once with --max-vanished {min(1.0, gone / live + 0.005):.2f}."
        )
    if run_id:
        _store(work, layout.tombstones_uri(dataset.uri, run_id), run_id, bool(gone))
    return int(gone)


def _store(work: Workspace, uri: str, run_id: str, with_gone: bool) -> None:
    sink = pa.BufferOutputStream()
    rows = 0
    with pq.ParquetWriter(sink, TOMBSTONES, compression="zstd") as writer:
        for batch in work.batches(f"FROM changes WHERE {with_gone} OR NOT gone ORDER BY id"):
            writer.write_batch(batch.cast(TOMBSTONES))
            rows += batch.num_rows
        writer.add_key_value_metadata(encode_footer({"run_id": run_id}))
    if rows:
        storage.create(uri, sink.getvalue().to_pybytes())


#: One row per id of the dataset that the source may have: its newest outcome, and hashes of that outcome's and of the
#: listed fingerprint. A catalog with a prefix shares the dataset with others, and says nothing about their ids.
_PRESENCE = """
SELECT id, arg_max(kind, place) AS kind, arg_max(state, place) AS state, max(listed) AS listed
FROM (
    SELECT id, place, kind, hash(source_fingerprint) AS state, NULL AS listed FROM outcomes
    UNION ALL SELECT id, NULL, NULL, NULL, hash(source_fingerprint) FROM listing
) WHERE starts_with(id, {prefix}) GROUP BY id HAVING max(place) IS NOT NULL
"""

_CHANGES = f"""
WITH other AS MATERIALIZED (
    SELECT id, source_fingerprint FROM listing
    JOIN presence USING (id) WHERE listed IS NOT NULL AND (kind = {Outcome.GONE} OR state <> listed)
)
SELECT id, NULL::VARCHAR AS source_fingerprint, true AS gone FROM presence
WHERE listed IS NULL AND kind <> {Outcome.GONE}
UNION ALL
SELECT DISTINCT id, source_fingerprint, false FROM outcomes JOIN other USING (id, source_fingerprint)
"""
