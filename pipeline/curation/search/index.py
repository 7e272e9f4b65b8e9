"""Making a faiss index over the vectors of a dataset, and measuring how much of the truth it finds.

In: a dataset. Out: `OUT/_index/...`. The vectors pass through a scratch file on this machine's disk, so that they are
read once; the index itself is built in memory and is about as large as they are. How far a search looks (`effort`) is
not a constant: it is doubled until ten nearest rows of sample queries are found as a comparison with every row finds
them. Where the dataset has texts the samples are their vectors, since people search images with words, and words lie
elsewhere in the space than images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.curation.current_rows import CurrentRows
from pipeline.curation.search.exact import text_columns
from pipeline.curation.search.index_files import IndexFacts, map_uri, publish, set_effort, state_of
from pipeline.curation.tables import write_table
from pipeline.curation.vectors import KEY, TEXT, Vectors, matrix, vector_blocks
from pipeline.dataset.dataset import Dataset
from pipeline.errors import UsageError
from pipeline.phases import OnPhase, ignore
from pipeline.scratch.workspace import Workspace
from pipeline.vocabulary import IndexKind

WANTED_RECALL = 0.99
NEAREST = 10
_SAMPLES = 128
_TRAINING_PER_LIST = 64
_LEAST_PER_LIST = 39
_CHUNK_ROWS = 65536
_HNSW_LINKS = 32
_EFFORTS: dict[IndexKind, tuple[int, int]] = {"flat": (0, 0), "ivf": (4, 2**16), "hnsw": (32, 1024)}


@dataclass(frozen=True, slots=True)
class _Made:
    """A built index and what was found out about it."""

    index: Any
    lists: int
    effort: int = 0
    recall: float = 1.0


def build(out: str, kind: IndexKind, vector: str, on_phase: OnPhase = ignore) -> IndexFacts:
    """Index the current rows of the dataset at `out`, in place of an index that may be there.

    Args:
        out: the dataset.
        kind: see `IndexFacts`.
        vector: column to index.
        on_phase: reports progress.

    Raises:
        UsageError: the dataset has no such vectors.
        IdentityError, StorageError, RunError: it is not there, or cannot be read or written.
    """
    dataset = Dataset.open(out)
    facts = IndexFacts(
        kind=kind, vector=vector, rows=0, dim=dataset.identity.dim, lists=0, effort=0, recall=1, size_bytes=0,
        state=state_of(dataset),
    )  # fmt: skip
    on_phase("reading the vectors", 0, None)
    with tempfile.TemporaryDirectory(prefix="hanclip-") as scratch:
        spilled = Path(scratch) / "vectors"
        rows = _spill(dataset, facts, spilled)
        if not rows:
            raise UsageError(f"{dataset.uri} has no current rows with {vector}: there is nothing to index.")
        vectors: Vectors = np.memmap(spilled, np.float32, "r", shape=(rows, facts.dim))
        on_phase(f"building the {kind} index of {rows:,} vectors", 0, None)
        made = _tuned(_filled(kind, vectors), kind, vectors, sample_queries(dataset, vector, _SAMPLES))
        file = Path(scratch) / "index.faiss"
        faiss.write_index(made.index, str(file))
        on_phase("storing the index", 0, None)
        found = {"rows": rows, "lists": made.lists, "effort": made.effort, "recall": made.recall}
        facts = facts.model_copy(update={**found, "size_bytes": file.stat().st_size})
        publish(dataset.uri, facts, file)
    return facts


def sample_queries(dataset: Dataset, vector: str, size: int, skipped: int = 0) -> Vectors:
    """Up to `size` stored vectors to search with, texts where the dataset has them; `skipped` takes others."""
    column = TEXT if dataset.identity.has_texts else vector
    with Workspace() as work:
        current = CurrentRows(dataset, work)
        parts = []
        for table in current.read([column], current.sample(16 * size)):
            parts.append(matrix(table.filter(table[column].is_valid())[column]))
    found = np.concatenate(parts) if parts else np.empty((0, dataset.identity.dim), np.float32)
    order = np.random.default_rng(skipped).permutation(len(found))
    return found[np.sort(order[:size])]


def _spill(dataset: Dataset, facts: IndexFacts, path: Path) -> int:
    """Write the vectors to the local file `path` and the table of their rows to its place; how many there are."""
    texts = text_columns(dataset)
    schema = pa.schema([dataset.identity.schema.field(name) for name in (*KEY, *texts)])

    with path.open("wb") as file:

        def rows() -> Iterator[pa.Table]:
            for block in vector_blocks(dataset.uri, facts.vector, texts):
                file.write(np.ascontiguousarray(block.vectors).data)
                yield block.rows

        return write_table(map_uri(dataset.uri, facts), schema, rows(), {"state": facts.state})


def _filled(kind: IndexKind, vectors: Vectors) -> _Made:
    rows, dim = vectors.shape
    lists = max(1, min(round(4 * rows**0.5), rows // _LEAST_PER_LIST)) if kind == "ivf" else 0
    name = {"flat": "Flat", "ivf": f"IVF{lists},Flat", "hnsw": f"HNSW{_HNSW_LINKS},Flat"}[kind]
    index: Any = faiss.index_factory(dim, name, faiss.METRIC_INNER_PRODUCT)
    if kind == "ivf":
        index.cp.min_points_per_centroid = 1
        every = max(1, rows // (lists * _TRAINING_PER_LIST))
        index.train(np.ascontiguousarray(vectors[::every]))
    for start in range(0, rows, _CHUNK_ROWS):
        index.add(np.ascontiguousarray(vectors[start : start + _CHUNK_ROWS]))
    return _Made(index, lists)


def _tuned(made: _Made, kind: IndexKind, vectors: Vectors, queries: Vectors) -> _Made:
    """The index with the least effort that finds what is wanted, or the most there is."""
    effort, most = _EFFORTS[kind]
    if kind == "flat" or not len(queries):
        return made
    most = min(most, made.lists or most)
    top = min(NEAREST, len(vectors))
    least = _least_similarities(vectors, queries, top)
    while True:
        effort = min(effort, most)
        set_effort(made.index, kind, effort)
        similarities, _ = made.index.search(queries, top)
        recall = float((similarities >= least - 1e-5).mean())
        if recall >= WANTED_RECALL or effort == most:
            return _Made(made.index, made.lists, effort, recall)
        effort *= 2


def _least_similarities(vectors: Vectors, queries: Vectors, top: int) -> npt.NDArray[np.float32]:
    """(Q, 1): the similarity of each query's last true hit. Whoever is as near is as right: copies tie."""
    best = np.full((len(queries), top), -np.inf, np.float32)
    for start in range(0, len(vectors), _CHUNK_ROWS):
        similarities = queries @ vectors[start : start + _CHUNK_ROWS].T
        best = np.sort(np.concatenate([best, similarities], axis=1), axis=1)[:, -top:]
    return best[:, :1]
