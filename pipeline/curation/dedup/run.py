"""All of it: from a dataset to its table of duplicates.

In: a dataset and settings. Out: `OUT/dedup/dedup.parquet`, one row for each of the latest rows, and what was found. The
table is a function of the latest rows and the settings alone; what is kept under `OUT/_dedup/` only saves time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.curation.dedup.choice import needed_columns
from pipeline.curation.dedup.links import EQUAL, Link, equal_link, phash_link, vector_link
from pipeline.curation.dedup.pairs.nearness import Found, Search, search
from pipeline.curation.dedup.pairs.neighbours import Each, here
from pipeline.curation.dedup.rows import Rows, gather_rows
from pipeline.curation.dedup.rungs import needs, rungs_of, searches
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.dedup.verdict import Verdict, judge
from pipeline.curation.tables import write_table
from pipeline.curation.vectors import IMAGE, KEY, TEXT
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.phases import OnPhase, counted, ignore
from pipeline.scratch.workspace import BATCH_ROWS, Workspace
from pipeline.vocabulary import Rung

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source_fingerprint", pa.string(), nullable=False),
        pa.field("group", pa.string()),
        pa.field("rung", pa.string()),
        pa.field("duplicate_of", pa.string()),
        pa.field("cosine", pa.float32()),
        pa.field("keep", pa.bool_(), nullable=False),
    ]
)
_LARGEST = 5


@dataclass(frozen=True, slots=True)
class Deduplication:
    """What was found.

    Attributes:
        uri: the table.
        rungs: of the ladder.
        rows: latest rows; kept + dropped.
        groups: groups of two rows or more.
        by_rung: dropped rows by the rung that joined them.
        largest: the largest groups, each by its smallest id, with its size.
        lowest_cosine: smallest cosine of a dropped row with the kept one; low ones joined through others.
        vectors, new_vectors: distinct vectors, and those that no earlier run had seen.
        compared: pairs of vectors looked at.
    """

    uri: str
    rungs: tuple[str, ...]
    rows: int
    kept: int
    dropped: int
    groups: int
    by_rung: dict[str, int]
    largest: list[tuple[str, int]]
    lowest_cosine: float | None
    vectors: int
    new_vectors: int
    compared: int


def dedup(out: str, settings: DedupSettings, each: Each = here, on_phase: OnPhase = ignore) -> Deduplication:
    """Write the table of duplicates of the dataset at `out`.

    Args:
        out: the dataset.
        settings: what counts as a duplicate, and which row stays.
        each: where blocks of vectors are compared.
        on_phase: reports progress.

    Raises:
        UsageError, ConfigError: the settings do not fit the dataset.
        IdentityError: there is no dataset.
        StorageError, RunError: it cannot be read or written; the same call goes on.
    """
    dataset = Dataset.open(out)
    rungs = rungs_of(settings, dataset.identity)
    wanted = searches(settings, rungs)
    columns = {name for rung in rungs for name in (needs(rung) - {IMAGE, TEXT}) | {EQUAL.get(rung, "id")}}
    columns |= set(needed_columns(settings, dataset.identity))
    with Workspace() as work:
        rows = gather_rows(
            dataset, work, sorted(columns), [w.vector for w in wanted.values()], counted(on_phase, "Reading rows")
        )
        found = {rung: search(out, rows, one, each, on_phase) for rung, one in wanted.items()}
        on_phase("Grouping", 0, None)
        links = [_link(rows, rung, settings, found.get(rung), wanted.get(rung)) for rung in rungs]
        verdict = judge(rows, links, settings, dataset.identity)
        uri = layout.dedup_uri(dataset.uri)
        on_phase("Writing the table", 0, None)
        facts = {"settings": settings.model_dump(mode="json"), "rungs": list(rungs)}
        write_table(uri, SCHEMA, _tables(rows, verdict), facts)
        return _told(uri, rungs, verdict, found)


def _link(rows: Rows, rung: Rung, settings: DedupSettings, found: Found | None, wanted: Search | None) -> Link:
    if found and wanted:
        return vector_link(rows, rung, wanted.vector, wanted.threshold, found.firsts, found.pairs)
    return phash_link(rows, settings.phash_radius) if rung is Rung.PHASH else equal_link(rows, rung)


def _tables(rows: Rows, verdict: Verdict) -> Iterator[pa.Table]:
    start = 0
    for batch in pq.ParquetFile(rows.work.path("rows.parquet")).iter_batches(BATCH_ROWS, columns=list(KEY)):
        some = slice(start, start + batch.num_rows)
        yield pa.table({**dict(zip(KEY, batch.columns, strict=True)), **verdict.columns(some)})
        start += batch.num_rows


def _told(uri: str, rungs: tuple[Rung, ...], verdict: Verdict, found: Mapping[Rung, Found]) -> Deduplication:
    dropped = int((~verdict.keep).sum())
    counts = Counter(verdict.rung[~verdict.keep].tolist())
    sizes = np.bincount(verdict.group[verdict.group >= 0])
    largest = np.lexsort((np.arange(len(sizes)), -sizes))[:_LARGEST]
    compared = verdict.cosine[~np.isnan(verdict.cosine)]
    return Deduplication(
        uri=uri,
        rungs=tuple(map(str, rungs)),
        rows=len(verdict.keep),
        kept=len(verdict.keep) - dropped,
        dropped=dropped,
        groups=len(sizes),
        by_rung={str(rung): counts[place] for place, rung in enumerate(rungs) if counts[place]},
        largest=[(verdict.names[int(group)].as_py(), int(sizes[group])) for group in largest],
        lowest_cosine=float(compared.min()) if len(compared) else None,
        vectors=sum(one.vectors for one in found.values()),
        new_vectors=sum(one.new for one in found.values()),
        compared=sum(one.compared for one in found.values()),
    )
