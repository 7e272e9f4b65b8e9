"""Estimates the work of `hanclip dedup` from counts, for `--dry-run`."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.curation.dedup.choice.keep import needed_columns
from pipeline.curation.dedup.links.rungs import require_columns, rungs_of, searches
from pipeline.curation.dedup.never import read_never
from pipeline.curation.dedup.pairs.cells import cells_for
from pipeline.curation.dedup.pairs.projections import LENGTHS
from pipeline.curation.dedup.pairs.state import stored_count
from pipeline.curation.dedup.references import open_references
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import count

_FLOAT_BYTES = 4
#: Cells' worth of vectors that a vector is compared with: its home cell, its visitors, and the cells that it visits.
_CELLS_MET = 30


@dataclass(frozen=True, slots=True)
class DedupPlan:
    """What a run would do.

    Attributes:
        uri: the table that would be written.
        rungs: strongest first.
        rows: latest rows, without those of references.
        known: by vector column, how many distinct vectors earlier runs have compared, those of references included.
        pairs: rough estimate of the pairs of vectors to compare.
        scratch_bytes: approximate space of vectors and projections in the temporary folder.
    """

    uri: str
    rungs: tuple[str, ...]
    rows: int
    known: dict[str, int]
    pairs: int
    scratch_bytes: int


def plan(out: str, settings: DedupSettings) -> DedupPlan:
    """Plan a run. Raises the errors with which `run.dedup` would refuse to start."""
    dataset = Dataset.open(out)
    rungs = rungs_of(settings, dataset.identity)
    needed_columns(settings, dataset.identity)
    require_columns(settings, dataset.identity)
    read_never(settings.not_duplicates)
    references = open_references(dataset, settings, rungs)
    rows = count(out)
    read = rows + sum(count(one.uri) for one in references)
    known = {search.vector: stored_count(dataset.uri, search.name) for search in searches(settings, rungs).values()}
    met = min(read, _CELLS_MET * read // cells_for(read))
    pairs = sum(max(0, read - compared) * met for compared in known.values())
    length = dataset.identity.dim + 2 * min(dataset.identity.dim, LENGTHS[0])
    scratch_bytes = len(known) * read * length * _FLOAT_BYTES
    return DedupPlan(layout.dedup_uri(dataset.uri), rungs, rows, known, pairs, scratch_bytes)
