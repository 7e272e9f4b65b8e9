"""The files of a dataset's search indexes.

    OUT/_index/<vector column>.json              metadata of the index; written last, which makes the index visible
    OUT/_index/<vector column>/<name>.faiss      the index; vector n in it is
    OUT/_index/<vector column>/<name>.parquet    row n here: id, source_fingerprint, text

The name contains the dataset's state and the kind of index. So a build that is killed and started again writes the same
files, and a build for another state leaves the files of the current index alone until it replaces them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.errors import NotFoundError, RunError
from pipeline.validation import validated
from pipeline.vocabulary import IndexKind

FOLDER = "_index"


class IndexFacts(BaseModel):
    """The metadata of an index, as stored in its JSON file."""

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
        """The name of its two files, without their suffixes."""
        return f"{self.state[:16]}-{self.kind}"


def state_of(dataset: Dataset) -> str:
    """A digest of the names of all files that determine which rows are current. No row is read."""
    found = dataset.files()
    shards = {(file.run_date, file.shard_id) for file in found}
    failed = layout.data_files(dataset.uri, layout.QUARANTINE)
    files = [
        (folder, file.run_date, file.shard_id, file.attempt)
        for folder, some in ((layout.EMBEDDINGS, found), (layout.QUARANTINE, failed))
        for file in some
        if (file.run_date, file.shard_id) in shards
    ]
    parts = [dataset.identity.weights_sha256, files, sorted(layout.tombstones(dataset.uri))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_facts(out: str, vector: str) -> IndexFacts | None:
    """The metadata of the index over `vector`; None if there is none. Raises RunError if they are invalid."""
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
    """The table that maps the vectors of the index to rows."""
    return storage.join(out, FOLDER, facts.vector, f"{facts.name}.parquet")


def index_uri(out: str, facts: IndexFacts) -> str:
    """The file of the index."""
    return storage.join(out, FOLDER, facts.vector, f"{facts.name}.faiss")


def publish(out: str, facts: IndexFacts, index: Path) -> None:
    """Upload the local file `index`, make it the current index, and delete the one it replaces.

    The table of its rows must already be uploaded.
    """
    storage.upload(index_uri(out, facts), index)
    storage.overwrite(_facts_uri(out, facts.vector), facts.model_dump_json(indent=2).encode())
    own = {index_uri(out, facts), map_uri(out, facts)}
    for info in layout.objects(out, FOLDER, facts.vector):
        if info.uri not in own:
            storage.delete(info.uri)


def load(out: str, facts: IndexFacts) -> Any:
    """Load the index; a local one is memory-mapped if its kind allows. Raises RunError."""
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
    """Set how much of the index a search without `parameters` visits."""
    if kind == "ivf":
        index.nprobe = effort
    elif kind == "hnsw":
        index.hnsw.efSearch = effort


def selector(chosen: npt.NDArray[np.bool_]) -> Any:
    """Faiss's way to search these vectors alone; the index is flat or ivf."""
    library: Any = faiss  # its stubs state the types of C++
    return library.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))


def parameters(kind: IndexKind, effort: int, chosen: Any = None) -> Any:
    """Faiss's parameters of one search. The effort is that search's alone, so that others may run at the same time.

    Args:
        kind: the index.
        effort: how much of it is visited.
        chosen: a `selector`; None: any vectors.
    """
    library: Any = faiss
    given = {} if chosen is None else {"sel": chosen}
    if kind == "ivf":
        return library.SearchParametersIVF(nprobe=effort, **given)
    if kind == "hnsw":
        return library.SearchParametersHNSW(efSearch=effort, **given)
    return library.SearchParameters(**given)


def _facts_uri(out: str, vector: str) -> str:
    return storage.join(out, FOLDER, f"{vector}.json")
