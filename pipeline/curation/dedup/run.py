"""Runs all steps of `hanclip dedup`, from a dataset to its table of duplicates.

In: a dataset and settings. Out: `OUT/dedup/dedup.parquet`, one row for each of the latest rows, and a summary. The
table depends on the latest rows, on the settings, and on which rows the previous table kept; the state under
`OUT/_dedup/` only saves time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline import storage
from pipeline.curation.dedup.choice.decisions import DedupDecisions, decide
from pipeline.curation.dedup.choice.earlier import read_earlier
from pipeline.curation.dedup.choice.keep import needed_columns
from pipeline.curation.dedup.links.ladder import build_ladder, conditions_of
from pipeline.curation.dedup.links.rungs import read_by, require_columns, rungs_of, searches
from pipeline.curation.dedup.never import read_never
from pipeline.curation.dedup.notes import notes_of
from pipeline.curation.dedup.pairs.incremental import NearVectors, find_near_vectors
from pipeline.curation.dedup.parallel import ParallelMap, serial_map
from pipeline.curation.dedup.references import open_references
from pipeline.curation.dedup.rows import gather_rows
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.dedup.tables import pairs_uri, write_decisions, write_pairs
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.identity import Identity
from pipeline.phases import OnPhase, counted, ignore
from pipeline.scratch.workspace import Workspace
from pipeline.vocabulary import Rung

_LARGEST = 5
#: Since 2, a row is dropped only for a kept row that it is a duplicate of; before, all but one of a group were.
_RULE = 2


@dataclass(frozen=True, slots=True)
class Deduplication:
    """The result of a run.

    Attributes:
        uri: the table.
        rungs: strongest first.
        rows: latest rows: kept + dropped.
        groups: groups of two rows or more, not counting those of `--against`.
        by_rung: dropped rows by the rung on which they were dropped.
        elsewhere: dropped rows whose kept one is in a dataset of `--against`.
        largest: the largest of them: name, and size.
        lowest_cosine: smallest cosine of a dropped row with the row that it duplicates.
        vectors, new_vectors: distinct vectors, and those that no earlier run has compared.
        compared: pairs of vectors that were compared.
        pairs_uri: the table of pairs, if one was asked for.
        notes: what a user may not expect.
    """

    uri: str
    rungs: tuple[str, ...]
    rows: int
    kept: int
    dropped: int
    groups: int
    by_rung: dict[str, int]
    elsewhere: int
    largest: list[tuple[str, int]]
    lowest_cosine: float | None
    vectors: int
    new_vectors: int
    compared: int
    pairs_uri: str | None
    notes: tuple[str, ...]


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
    uri, rungs = layout.dedup_uri(dataset.uri), rungs_of(settings, dataset.identity)
    by_rung = searches(settings, rungs)
    columns, never = _columns(settings, rungs, dataset.identity), read_never(settings.not_duplicates)
    references = open_references(dataset, settings, rungs)
    vectors = [search.vector for search in by_rung.values()]
    with Workspace() as work:
        rows = gather_rows(dataset, work, columns, vectors, counted(on_phase, "Reading rows"), references)
        found = {rung: find_near_vectors(out, rows, search, pmap, on_phase) for rung, search in by_rung.items()}
        on_phase("Grouping", 0, None)
        before = read_earlier(uri, rows, settings.reconsider)
        conditions = conditions_of(rows, settings, never)
        near = {rung: (by_rung[rung], found[rung]) for rung in found}
        ladder = build_ladder(rows, rungs, settings, near, conditions)
        decisions = decide(rows, ladder, settings, dataset.identity)
        on_phase("Writing the table", 0, None)
        facts = {"settings": settings.model_dump(mode="json"), "rungs": list(rungs), "rule": _RULE}
        if settings.pairs:
            write_pairs(pairs_uri(dataset.uri), rows, ladder, facts)
        else:
            storage.delete(pairs_uri(dataset.uri))  # of an earlier run, about other groups
        write_decisions(uri, rows, decisions, facts)
        notes = notes_of(dataset, settings, before, decisions, conditions)
        return _summary(uri, decisions, found, pairs_uri(dataset.uri) if settings.pairs else None, notes)


def _columns(settings: DedupSettings, rungs: tuple[str, ...], identity: Identity) -> list[str]:
    """The columns to read, besides the key and the vectors."""
    return sorted(read_by(rungs) | set(needed_columns(settings, identity)) | set(require_columns(settings, identity)))


def _summary(
    uri: str, decisions: DedupDecisions, found: Mapping[Rung, NearVectors], pairs: str | None, notes: tuple[str, ...]
) -> Deduplication:
    dropped = int((~decisions.keep).sum())
    counts = Counter(decisions.rung[~decisions.keep].tolist())
    sizes = decisions.sizes
    several = np.flatnonzero(sizes > 1)  # a duplicate of a row elsewhere may be alone here
    largest = several[np.argsort(-sizes[several], kind="stable")][:_LARGEST]
    cosines = decisions.distances.cosine[~np.isnan(decisions.distances.cosine)]
    return Deduplication(
        uri=uri,
        rungs=decisions.rungs,
        rows=len(decisions.keep),
        kept=len(decisions.keep) - dropped,
        dropped=dropped,
        groups=len(several),
        by_rung={rung: counts[position] for position, rung in enumerate(decisions.rungs) if counts[position]},
        elsewhere=int((decisions.kept_row >= len(decisions.keep)).sum()),
        largest=[(decisions.names[int(group)].as_py(), int(sizes[group])) for group in largest],
        lowest_cosine=float(cosines.min()) if len(cosines) else None,
        vectors=sum(one.vectors for one in found.values()),
        new_vectors=sum(one.new for one in found.values()),
        compared=sum(one.compared for one in found.values()),
        pairs_uri=pairs,
        notes=notes,
    )
