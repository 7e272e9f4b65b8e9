"""Where a dataset's search indexes lie, and which state of the dataset each was made of.

    OUT/_index/<vector column>.json              what the index is; written last, so it is there whole or not at all
    OUT/_index/<vector column>/<name>.faiss      the index; vector n in it is
    OUT/_index/<vector column>/<name>.parquet    row n here: id, source_fingerprint, text

The name is that of the dataset's state and of the kind, so a build that is killed and started again writes the same
files, and one of another state leaves those that are being read alone until the new ones count.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import faiss
from pydantic import BaseModel, ConfigDict, Field

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.errors import NotFoundError, RunError
from pipeline.validation import validated
from pipeline.vocabulary import IndexKind

FOLDER = "_index"


class IndexFacts(BaseModel):
    """What an index is, as its JSON file tells."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hanclip_index: Literal[1] = Field(default=1, description="Version of this layout.")
    kind: IndexKind = Field(description="flat compares with every vector; ivf and hnsw with some of them.")
    vector: str = Field(description="Column of the embeddings that it holds.")
    rows: int = Field(ge=0, description="Vectors in it.")
    dim: int = Field(ge=1, description="Length of a vector.")
    lists: int = Field(ge=0, description="ivf: clusters that the vectors are sorted into; 0 for other kinds.")
    effort: int = Field(ge=0, description="ivf: clusters looked at; hnsw: candidates kept; 0 for flat.")
    recall: float = Field(ge=0, le=1, description="Of the true ten nearest, the share found at this effort, measured.")
    size_bytes: int = Field(ge=0, description="Size of the index.")
    state: str = Field(description="Digest of the dataset's files that it was made of.")

    @property
    def name(self) -> str:
        """Of its two files, without their suffixes."""
        return f"{self.state[:16]}-{self.kind}"


def state_of(dataset: Dataset) -> str:
    """Digest of the names of all files that decide which rows are current, so that no row need be read."""
    files = [
        (folder, file.run_date, file.shard_id, file.attempt)
        for folder in (layout.EMBEDDINGS, layout.QUARANTINE)
        for file in layout.data_files(dataset.uri, folder)
    ]
    told = [dataset.identity.weights_sha256, files, sorted(layout.tombstones(dataset.uri))]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def read_facts(out: str, vector: str) -> IndexFacts | None:
    """What the index over `vector` is; None when there is none. Raises RunError for one that is not understood."""
    uri = _facts_uri(out, vector)
    try:
        return validated(
            IndexFacts,
            storage.read_bytes(uri),
            f"{uri} is not valid",
            cure=f"Run `hanclip index {out}`.",
            error=RunError,
        )
    except NotFoundError:
        return None


def map_uri(out: str, facts: IndexFacts) -> str:
    """The table of which row each vector of the index is."""
    return storage.join(out, FOLDER, facts.vector, f"{facts.name}.parquet")


def index_uri(out: str, facts: IndexFacts) -> str:
    """The index itself."""
    return storage.join(out, FOLDER, facts.vector, f"{facts.name}.faiss")


def publish(out: str, facts: IndexFacts, index: Path) -> None:
    """Let the index in the local file `index` count; its table is in place. What it replaces is deleted."""
    storage.upload(index_uri(out, facts), index)
    storage.overwrite(_facts_uri(out, facts.vector), facts.model_dump_json(indent=2).encode())
    own = {index_uri(out, facts), map_uri(out, facts)}
    for info in layout.objects(out, FOLDER, facts.vector):
        if info.uri not in own:
            storage.delete(info.uri)


def load(out: str, facts: IndexFacts) -> Any:
    """The index, ready to search; a local one is mapped into memory where its kind allows. Raises RunError."""
    uri = index_uri(out, facts)
    try:
        if storage.is_local(uri):
            index = faiss.read_index(uri, faiss.IO_FLAG_MMAP_IFC)
        else:
            with storage.open_seekable(uri, buffer_bytes=2**23) as source:
                index = faiss.read_index(faiss.PyCallbackIOReader(source.read))  # type: ignore[attr-defined]
    except (RuntimeError, NotFoundError) as error:
        raise RunError(f"The index {uri} cannot be read ({error}): run `hanclip index {out}` again.") from error
    set_effort(index, facts.kind, facts.effort)
    return index


def set_effort(index: Any, kind: IndexKind, effort: int) -> None:
    """Let a search look at more or less."""
    if kind == "ivf":
        index.nprobe = effort
    elif kind == "hnsw":
        index.hnsw.efSearch = effort


def _facts_uri(out: str, vector: str) -> str:
    return storage.join(out, FOLDER, f"{vector}.json")
