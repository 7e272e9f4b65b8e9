"""What finding duplicates would take, from counts alone."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.curation.dedup.choice import needed_columns
from pipeline.curation.dedup.pairs.cells import cells_for
from pipeline.curation.dedup.pairs.shadows import LENGTHS
from pipeline.curation.dedup.pairs.state import covered
from pipeline.curation.dedup.rungs import rungs_of, searches
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import count

_FLOAT_BYTES = 4
#: A vector meets its own cell and the visitors of that, and visits some more; full cells have more of all.
_CELLS_MET = 30


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to do.

    Attributes:
        uri: the table that would be written.
        rungs: of the ladder.
        rows: latest rows.
        known: by vector column, the distinct vectors that an earlier run compared.
        pairs: of vectors that would be compared, a rough guess.
        scratch_bytes: space that vectors and their shadows take in the temporary folder, about.
    """

    uri: str
    rungs: tuple[str, ...]
    rows: int
    known: dict[str, int]
    pairs: int
    scratch_bytes: int


def plan(out: str, settings: DedupSettings) -> Plan:
    """Plan; raises what `run.dedup` raises before it begins."""
    dataset = Dataset.open(out)
    rungs = rungs_of(settings, dataset.identity)
    needed_columns(settings, dataset.identity)
    wanted = searches(settings, rungs)
    rows = count(out)
    known = {search.vector: covered(dataset.uri, search.name) for search in wanted.values()}
    met = min(rows, _CELLS_MET * rows // cells_for(rows))
    pairs = sum(max(0, rows - covered) * met for covered in known.values())
    length = dataset.identity.dim + 2 * min(dataset.identity.dim, LENGTHS[0])
    scratch_bytes = len(wanted) * rows * length * _FLOAT_BYTES
    return Plan(layout.dedup_uri(dataset.uri), tuple(map(str, rungs)), rows, known, pairs, scratch_bytes)
