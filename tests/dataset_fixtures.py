"""Embedded rows without a model: unit vectors drawn from the record's id, so that equal records give equal rows."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipeline.dataset.dataset import Dataset
from pipeline.dataset.identity import Identity
from pipeline.dataset.schema import QUARANTINE
from pipeline.dataset.shard_file import Provenance
from pipeline.plan.make import Plan, read_records
from pipeline.records import Record

DIM = 8


@dataclass(frozen=True)
class FakeModel:
    """The facts that a checkpoint tells."""

    name: str = "test/clip"
    revision: str | None = "abc"
    weights_sha256: str = "1" * 64
    preprocessing: str = "squash-bicubic-8"
    dim: int = DIM


def an_identity(**changes: object) -> Identity:
    model = FakeModel()
    identity = Identity(
        model=model.name,
        revision=model.revision,
        weights_sha256=model.weights_sha256,
        preprocessing=model.preprocessing,
        dim=DIM,
        has_images=True,
        has_texts=True,
        shard_rows=512,
    )
    return replace(identity, **changes)  # type: ignore[arg-type]


def some_records(count: int, first: int = 0) -> list[Record]:
    return [
        Record(f"item-{i:05d}", f"s3://shop/{i}.jpg", None, None, None, 100, f"etag-{i}")
        for i in range(first, first + count)
    ]


def unit_vectors(ids: Sequence[str], dim: int, salt: str) -> np.ndarray:
    """(len(ids), dim) float32 of norm 1, each row drawn from its id and `salt`."""
    seeds = np.array([zlib.crc32(f"{salt}{id_}".encode()) for id_ in ids], np.float64)
    vectors = np.sin(np.outer(seeds, 1.0 + np.arange(dim) / dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def vector_column(vectors: np.ndarray) -> pa.FixedSizeListArray:
    dim = vectors.shape[1]
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim)


def embedded_rows(records: Sequence[Record], identity: Identity) -> pa.Table:
    """What a run would hand to `Dataset.write_shard`, vectors in float32."""
    ids = [record.id for record in records]
    image, text = (unit_vectors(ids, identity.dim, salt) for salt in ("image", "text"))
    columns = {
        "id": pa.array(ids, pa.string()),
        "image_uri": pa.array([record.image_uri for record in records], pa.string()),
        "image_sha256": pa.array([f"{zlib.crc32(id_.encode()):064x}" for id_ in ids], pa.string()),
        "image_phash": pa.array([zlib.crc32(id_.encode()) << 32 for id_ in ids], pa.uint64()),
        "image_pixels_xxh128": pa.array([f"{zlib.crc32(id_.encode()):032x}" for id_ in ids], pa.string()),
        "image_width": pa.array([640] * len(ids), pa.int32()),
        "image_height": pa.array([480] * len(ids), pa.int32()),
        "text": pa.array([f"红色连衣裙 {id_}" for id_ in ids], pa.string()),
        "image_embedding": vector_column(image),
        "text_embedding": vector_column(text),
        "similarity": pa.array(np.einsum("ij,ij->i", image, text)),
        "source_fingerprint": pa.array([record.source_fingerprint for record in records], pa.string()),
        **{field.name: pa.array([f"{field.name} {id_}" for id_ in ids], field.type) for field in identity.extra},
    }
    return pa.table({name: columns[name] for name in identity.schema.names})


def quarantined_rows(records: Sequence[Record], reason: str = "timeout", attempts: int = 1) -> pa.Table:
    rows = [
        {
            "id": record.id,
            "image_uri": record.image_uri,
            "stage": "read",
            "reason": reason,
            "detail": f"{record.image_uri}: {reason}",
            "attempts": attempts,
            "source_fingerprint": record.source_fingerprint,
        }
        for record in records
    ]
    return pa.Table.from_pylist(rows, schema=QUARANTINE)


def provenance(rows: int, run_id: str = "run-1", planned_by: str = "") -> Provenance:
    return Provenance(run_id=run_id, rows_planned=rows, logit_scale=100.0, compute_dtype="fp32", planned_by=planned_by)


def commit(dataset: Dataset, number: int, records: Sequence[Record], run_date: str = "2026-11-21") -> str:
    """Commit `records` as a shard of its own; returns its id."""
    shard_id = f"{number:032x}"
    table = embedded_rows(records, dataset.identity)
    dataset.write_shard(shard_id, run_date, table, QUARANTINE.empty_table(), provenance(len(records)))
    return shard_id


def carry_out(plan: Plan, failing: dict[str, str] | None = None, shards: slice = slice(None)) -> None:
    """Do the work of a plan's shards; records whose id is in `failing` go to quarantine for that reason."""
    failing = failing or {}
    for shard in plan.shards[shards]:
        records = read_records(shard)
        good = [record for record in records if record.id not in failing]
        aside = [
            quarantined_rows([record], failing[record.id], shard.attempts + 1)
            for record in records
            if record.id in failing
        ]
        plan.dataset.write_shard(
            shard.shard_id,
            shard.run_date,
            embedded_rows(good, plan.dataset.identity),
            pa.concat_tables([QUARANTINE.empty_table(), *aside]),
            provenance(len(records), plan.run_id, shard.planned_by),
        )
