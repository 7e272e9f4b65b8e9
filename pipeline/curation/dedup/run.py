"""Runs all steps of `hanclip dedup`, from a dataset to its table of duplicates.

In: a dataset and settings. Out: `OUT/dedup/dedup.parquet`, one row for each of the latest rows, and a summary. The
table depends only on the latest rows and the settings; the state under `OUT/_dedup/` only saves time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.curation.dedup.decisions import DedupDecisions, decide
from pipeline.curation.dedup.keep import needed_columns
from pipeline.curation.dedup.pairs.incremental import NearVectors, find_near_vectors
from pipeline.curation.dedup.parallel import ParallelMap, serial_map
from pipeline.curation.dedup.rows import Rows, gather_rows
from pipeline.curation.dedup.rung_pairs import EQUAL, RungPairs, equal_pairs, phash_pairs, vector_pairs
from pipeline.curation.dedup.rungs import needs, rungs_of, searches
from pipeline.curation.dedup.settings import DedupSettings
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
    """The result of a run.

    Attributes:
        uri: the table.
        rungs: strongest first.
        rows: latest rows: kept + dropped.
        groups: groups of two rows or more.
        by_rung: dropped rows by the rung on which they were dropped.
        largest: the largest groups: smallest id, and size.
        lowest_cosine: smallest cosine of a dropped row with the kept one; low if other rows connect the two.
        vectors, new_vectors: distinct vectors, and those that no earlier run has compared.
        compared: pairs of vectors that were compared.
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


def dedup(
    out: str, settings: DedupSettings, pmap: ParallelMap = serial_map, on_phase: OnPhase = ignore
) -> Deduplication:
    """Write the table of duplicates of the dataset at `out`.

    Args:
        out: the dataset.
        settings: what counts as a duplicate, and which row to keep.
        pmap: where blocks of vectors are compared.
        on_phase: reports progress.

    Raises:
        UsageError, ConfigError: the settings do not fit the dataset.
        IdentityError: there is no dataset.
        StorageError, RunError: it cannot be read or written; calling again resumes.
    """
    dataset = Dataset.open(out)
    rungs = rungs_of(settings, dataset.identity)
    by_rung = searches(settings, rungs)
    columns = {name for rung in rungs for name in (needs(rung) - {IMAGE, TEXT}) | {EQUAL.get(rung, "id")}}
    columns |= set(needed_columns(settings, dataset.identity))
    vectors = [search.vector for search in by_rung.values()]
    with Workspace() as work:
        rows = gather_rows(dataset, work, sorted(columns), vectors, counted(on_phase, "Reading rows"))
        found = {rung: find_near_vectors(out, rows, search, pmap, on_phase) for rung, search in by_rung.items()}
        on_phase("Grouping", 0, None)
        ladder = [
            vector_pairs(rows, rung, by_rung[rung], found[rung]) if rung in found else _pairs(rows, rung, settings)
            for rung in rungs
        ]
        decisions = decide(rows, ladder, settings, dataset.identity)
        uri = layout.dedup_uri(dataset.uri)
        on_phase("Writing the table", 0, None)
        footer = {"settings": settings.model_dump(mode="json"), "rungs": list(rungs)}
        write_table(uri, SCHEMA, _tables(rows, decisions), footer)
        return _summary(uri, decisions, found)


def _pairs(rows: Rows, rung: Rung, settings: DedupSettings) -> RungPairs:
    return phash_pairs(rows, settings.phash_radius) if rung is Rung.PHASH else equal_pairs(rows, rung)


def _tables(rows: Rows, decisions: DedupDecisions) -> Iterator[pa.Table]:
    start = 0
    for batch in pq.ParquetFile(rows.work.path("rows.parquet")).iter_batches(BATCH_ROWS, columns=list(KEY)):
        block = slice(start, start + batch.num_rows)
        yield pa.table({**dict(zip(KEY, batch.columns, strict=True)), **decisions.columns(block)})
        start += batch.num_rows


def _summary(uri: str, decisions: DedupDecisions, found: Mapping[Rung, NearVectors]) -> Deduplication:
    dropped = int((~decisions.keep).sum())
    counts = Counter(decisions.rung[~decisions.keep].tolist())
    sizes = np.bincount(decisions.group[decisions.group >= 0])
    largest = np.lexsort((np.arange(len(sizes)), -sizes))[:_LARGEST]
    cosines = decisions.cosine[~np.isnan(decisions.cosine)]
    return Deduplication(
        uri=uri,
        rungs=tuple(map(str, decisions.rungs)),
        rows=len(decisions.keep),
        kept=len(decisions.keep) - dropped,
        dropped=dropped,
        groups=len(sizes),
        by_rung={str(rung): counts[position] for position, rung in enumerate(decisions.rungs) if counts[position]},
        largest=[(decisions.names[int(group)].as_py(), int(sizes[group])) for group in largest],
        lowest_cosine=float(cosines.min()) if len(cosines) else None,
        vectors=sum(one.vectors for one in found.values()),
        new_vectors=sum(one.new for one in found.values()),
        compared=sum(one.compared for one in found.values()),
    )
