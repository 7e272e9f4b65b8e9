"""Builds a faiss index over the vectors of a dataset and tunes its recall.

In: a dataset. Out: `OUT/_index/...`. Vectors are read once and copied to a scratch file on the local disk; the index is
built in memory and is about as large as they are. The search effort is not a constant: it is doubled until sample
queries find their ten nearest rows as an exact search does. If the dataset has texts, their vectors are the sample
queries, since people search images with text, and texts lie in another region of the space than images.
"""

from __future__ import annotations

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
from pipeline.curation.search.index.files import IndexFacts, map_uri, publish, set_effort, state_of
from pipeline.curation.tables import write_table
from pipeline.curation.vectors import KEY, TEXT, Vectors, matrix, vector_blocks
from pipeline.dataset.dataset import Dataset
from pipeline.errors import UsageError
from pipeline.phases import OnPhase, ignore
from pipeline.scratch.folder import ScratchFolder
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
class _Built:
    """A faiss index with its number of lists, search effort and measured recall."""

    index: Any
    lists: int
    effort: int = 0
    recall: float = 1.0


def build(out: str, kind: IndexKind, vector: str, on_phase: OnPhase = ignore) -> IndexFacts:
    """Build or replace the index over the current rows of the dataset at `out`.

    Args:
        out: the dataset.
        kind: see `IndexFacts`.
        vector: column to index.
        on_phase: reports progress.

    Raises:
        UsageError: the dataset has no such vectors.
        IdentityError, StorageError, RunError: there is no dataset, or it cannot be read or written.
    """
    dataset = Dataset.open(out)
    facts = IndexFacts(
        kind=kind, vector=vector, rows=0, dim=dataset.identity.dim, lists=0, effort=0, recall=1, size_bytes=0,
        state=state_of(dataset),
    )  # fmt: skip
    on_phase("reading the vectors", 0, None)
    with ScratchFolder() as scratch:
        copied = scratch / "vectors"
        rows = _copy_rows(dataset, facts, copied)
        if not rows:
            raise UsageError(f"{dataset.uri} has no current rows with {vector}: there is nothing to index.")
        vectors: Vectors = np.memmap(copied, np.float32, "r", shape=(rows, facts.dim))
        on_phase(f"building the {kind} index of {rows:,} vectors", 0, None)
        built = _tuned(_filled(kind, vectors), kind, vectors, sample_queries(dataset, vector, _SAMPLES))
        file = scratch / "index.faiss"
        faiss.write_index(built.index, str(file))
        on_phase("storing the index", 0, None)
        measured = {"rows": rows, "lists": built.lists, "effort": built.effort, "recall": built.recall}
        facts = facts.model_copy(update={**measured, "size_bytes": file.stat().st_size})
        publish(dataset.uri, facts, file)
    return facts


def sample_queries(dataset: Dataset, vector: str, size: int, seed: int = 0) -> Vectors:
    """Up to `size` stored vectors as queries: those of texts if the dataset has them. Another seed draws others."""
    column = TEXT if dataset.identity.has_texts else vector
    with Workspace() as work:
        current = CurrentRows(dataset, work)
        parts = []
        for table in current.read([column], current.sample(16 * size)):
            parts.append(matrix(table.filter(table[column].is_valid())[column]))
    pool = np.concatenate(parts) if parts else np.empty((0, dataset.identity.dim), np.float32)
    order = np.random.default_rng(seed).permutation(len(pool))
    return pool[np.sort(order[:size])]


def _copy_rows(dataset: Dataset, facts: IndexFacts, path: Path) -> int:
    """Copy the vectors to the local file `path` and upload the table of their rows; returns their number."""
    texts = text_columns(dataset)
    schema = pa.schema([dataset.identity.schema.field(name) for name in (*KEY, *texts)])

    with path.open("wb") as file:

        def rows() -> Iterator[pa.Table]:
            for block in vector_blocks(dataset.uri, facts.vector, texts):
                file.write(np.ascontiguousarray(block.vectors).data)
                yield block.rows

        return write_table(map_uri(dataset.uri, facts), schema, rows(), {"state": facts.state})


def _filled(kind: IndexKind, vectors: Vectors) -> _Built:
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
    return _Built(index, lists)


def _tuned(built: _Built, kind: IndexKind, vectors: Vectors, queries: Vectors) -> _Built:
    """Set the least effort that reaches the wanted recall, or the largest effort."""
    effort, most = _EFFORTS[kind]
    if kind == "flat" or not len(queries):
        return built
    most = min(most, built.lists or most)
    top = min(NEAREST, len(vectors))
    least = _least_similarities(vectors, queries, top)
    while True:
        effort = min(effort, most)
        set_effort(built.index, kind, effort)
        similarities, _ = built.index.search(queries, top)
        recall = float((similarities >= least - 1e-5).mean())
        if recall >= WANTED_RECALL or effort == most:
            return _Built(built.index, built.lists, effort, recall)
        effort *= 2


def _least_similarities(vectors: Vectors, queries: Vectors, top: int) -> npt.NDArray[np.float32]:
    """(Q, 1) the similarity of each query's last true hit. Any row as similar counts as found, since copies tie."""
    best = np.full((len(queries), top), -np.inf, np.float32)
    for start in range(0, len(vectors), _CHUNK_ROWS):
        similarities = queries @ vectors[start : start + _CHUNK_ROWS].T
        best = np.sort(np.concatenate([best, similarities], axis=1), axis=1)[:, -top:]
    return best[:, :1]
