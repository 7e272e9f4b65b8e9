"""A catalog over several nights, embedded without a model, and its duplicates found by comparing every pair."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dataset_fixtures import an_identity, provenance, quarantined_rows, some_records, vector_column

from pipeline.dataset import Dataset, latest, layout
from pipeline.dataset.schema import QUARANTINE, TOMBSTONES

DIM = 128
#: Vectors differ more in some directions than in others, as those of real models do.
SPECTRUM = 1 / np.sqrt(1 + np.arange(DIM))
COSINE = 0.985


@dataclass(frozen=True)
class Picture:
    """What is embedded of one record; equal pictures have equal bytes."""

    vector: np.ndarray
    side: int = 100
    similarity: float = 0.3
    text: str = "红色连衣裙"
    phash: int = 0

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.vector.tobytes()).hexdigest()


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def pictures(count: int, seed: int, near: float = 0.3) -> list[Picture]:
    """Clustered pictures; a share `near` of them are prints of others, near the threshold on either side of it."""
    draw = np.random.default_rng(seed)
    own = count - int(count * near)
    centres = np.random.default_rng(0).standard_normal((40, DIM)) * SPECTRUM
    vectors = unit(centres[draw.integers(40, size=own)] + 0.7 * draw.standard_normal((own, DIM)) * SPECTRUM)
    cosine = draw.uniform(COSINE - 0.02, 1, (count - own, 1))
    away = unit(draw.standard_normal((count - own, DIM)) * SPECTRUM)
    prints = cosine * vectors[draw.integers(own, size=count - own)] + np.sqrt(1 - cosine**2) * away
    every = np.concatenate([vectors, unit(prints)])
    scores = draw.uniform(0, 1, count)
    return [Picture(v, int(10 + 50 * s), float(np.float32(s))) for v, s in zip(every, scores, strict=True)]


class Catalog:
    """A dataset that nights write to."""

    def __init__(self, out: str | Path) -> None:
        self.out = str(out)
        self.dataset = Dataset.open_or_create(self.out, an_identity(dim=DIM))
        self._nights = 0

    def night(
        self, goods: dict[str, Picture], gone: Sequence[str] = (), failed: Sequence[str] = (), shards: int = 4
    ) -> None:
        """Embed `goods` in some shards; `failed` go to quarantine, and a listing lacked `gone`."""
        self._nights += 1
        run_id, ids = f"run-{self._nights:04d}", sorted(goods)
        for shard in range(shards):
            some, aside = ids[shard::shards], list(failed) if shard == 0 else []
            records = some_records(len(aside))
            bad = quarantined_rows(records) if aside else QUARANTINE.empty_table()
            if aside:
                bad = bad.set_column(0, QUARANTINE.field("id"), pa.array(aside))
            told = provenance(len(some) + len(aside), run_id, run_id)
            name = hashlib.sha256(f"{run_id}-{shard}".encode()).hexdigest()[:32]
            self.dataset.write_shard(name, "2026-11-21", self._rows(some, goods, run_id), bad, told)
        if gone:
            rows = [{"id": id_, "source_fingerprint": None, "gone": True} for id_ in gone]
            path = Path(layout.tombstones_uri(self.out, run_id))
            path.parent.mkdir(exist_ok=True)
            table = pa.Table.from_pylist(rows, TOMBSTONES)
            pq.write_table(table.replace_schema_metadata({"hanclip.run_id": run_id}), path)

    def _rows(self, ids: Sequence[str], goods: dict[str, Picture], run_id: str) -> pa.Table:
        of = [goods[id_] for id_ in ids]
        vectors = np.stack([one.vector for one in of]).astype(np.float32)
        columns = {
            "id": ids,
            "image_uri": [f"s3://shop/{id_}.jpg" for id_ in ids],
            "image_sha256": [one.digest for one in of],
            "image_phash": pa.array([one.phash for one in of], pa.uint64()),
            "image_pixels_xxh128": [one.digest[:32] for one in of],
            "image_width": pa.array([one.side for one in of], pa.int32()),
            "image_height": pa.array([one.side for one in of], pa.int32()),
            "text": [one.text for one in of],
            "image_embedding": vector_column(vectors),
            "text_embedding": vector_column(vectors),
            "similarity": pa.array([one.similarity for one in of], pa.float32()),
            "source_fingerprint": [f"{run_id}-{one.digest[:8]}" for one in of],
        }
        return pa.table({name: columns[name] for name in self.dataset.identity.schema.names})


def compared(out: str, cosine: float = COSINE) -> tuple[list[str], set[tuple[int, int]]]:
    """The ids of the latest rows, and all pairs of them that are near or of equal bytes, each pair compared."""
    table = latest(out, ["id", "image_embedding"]).read_all()
    vectors = np.array(table["image_embedding"].to_pylist(), np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = set()
    for start in range(0, len(vectors), 1000):
        near = np.triu(vectors[start : start + 1000] @ vectors.T >= cosine, start + 1)
        found |= {(start + i, j) for i, j in zip(*map(np.ndarray.tolist, np.nonzero(near)), strict=True)}
    return table["id"].to_pylist(), found


def components(ids: Sequence[str], pairs: Iterable[tuple[int, int]]) -> set[frozenset[str]]:
    """Groups of two and more that hang together."""
    beside: dict[int, set[int]] = {}
    for one, other in pairs:
        beside.setdefault(one, set()).add(other)
        beside.setdefault(other, set()).add(one)
    seen: set[int] = set()
    groups = set()
    for start in beside:
        group, left = set(), [start]
        while left:
            one = left.pop()
            if one not in group:
                group.add(one)
                left += beside[one]
        if start not in seen:
            groups.add(frozenset(ids[one] for one in group))
        seen |= group
    return groups


def groups_in(table: pa.Table) -> set[frozenset[str]]:
    """The groups that a table of duplicates tells."""
    members: dict[str, set[str]] = {}
    for row in table.select(["id", "group"]).to_pylist():
        if row["group"] is not None:
            members.setdefault(row["group"], set()).add(row["id"])
    return {frozenset(group) for group in members.values()}
