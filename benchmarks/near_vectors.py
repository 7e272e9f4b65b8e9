"""Vectors distributed like those of a CLIP model, with planted near neighbours, written as a dataset.

A common direction (two unrelated images have a cosine of about 0.5), many clusters of very different sizes, a slowly
decaying spectrum, and a fifth of all rows neighbours of another row at cosines from 0.9 to 0.999. The seed is the
number of rows, so the vectors are the same everywhere.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.dataset.dataset import Dataset
from pipeline.dataset.identity import Identity
from pipeline.dataset.schema import QUARANTINE
from pipeline.dataset.shard_file import ShardProvenance

DIM = 512
_PLANTED = 0.2
_COSINES = (0.9, 0.999)
_ROWS_PER_CLUSTER = 60
_BETWEEN, _WITHIN = 0.8, 0.55
_BLOCK = 65536
_SHARD_ROWS = 16384

Vectors = npt.NDArray[np.float32]


def near_vectors(count: int, differ_in: int = DIM) -> Vectors:
    """(count, DIM) float32 of norm 1. Neighbours differ in the first `differ_in` directions only, the strongest."""
    draw = np.random.default_rng(count)
    spectrum = (np.arange(DIM) + 8.0) ** -0.5
    spectrum = (spectrum / np.linalg.norm(spectrum)).astype(np.float32)
    own = count - int(count * _PLANTED)
    clusters = max(1, own // _ROWS_PER_CLUSTER)
    shares = np.arange(1, clusters + 1) ** -0.7
    cluster = draw.choice(clusters, own, p=shares / shares.sum())
    centres = _noise(draw, clusters, spectrum) * _BETWEEN
    vectors = np.empty((count, DIM), np.float32)
    for start in range(0, own, _BLOCK):
        some = slice(start, min(own, start + _BLOCK))
        vectors[some] = centres[cluster[some]] + _noise(draw, some.stop - start, spectrum) * _WITHIN
        vectors[some, -1] += 1
        vectors[some] = _unit(vectors[some])
    for start in range(own, count, _BLOCK):
        some = slice(start, min(count, start + _BLOCK))
        vectors[some] = _beside(draw, vectors[draw.choice(own, some.stop - start)], spectrum, differ_in)
    return vectors[draw.permutation(count)]


def _noise(draw: np.random.Generator, rows: int, spectrum: Vectors) -> Vectors:
    return draw.standard_normal((rows, DIM), np.float32) * spectrum


def _beside(draw: np.random.Generator, vectors: Vectors, spectrum: Vectors, differ_in: int) -> Vectors:
    """A neighbour of each vector, at a random cosine."""
    away = _noise(draw, len(vectors), spectrum)
    away[:, differ_in:] = 0
    away = _unit(away - (away * vectors).sum(axis=1, keepdims=True) * vectors)
    cosine = draw.uniform(*_COSINES, (len(vectors), 1)).astype(np.float32)
    return _unit(cosine * vectors + np.sqrt(1 - cosine**2) * away)


def _unit(vectors: Vectors) -> Vectors:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write_dataset(out: Path, vectors: Vectors) -> None:
    """A dataset with these image vectors; an image's pixel digest is its number in 32 hex digits."""
    identity = Identity(
        model="benchmark", revision=None, weights_sha256="0" * 64, preprocessing="none", dim=DIM,
        has_images=True, has_texts=False, shard_rows=_SHARD_ROWS,
    )  # fmt: skip
    dataset = Dataset.open_or_create(str(out), identity)
    for shard, start in enumerate(range(0, len(vectors), _SHARD_ROWS)):
        table = _rows(start, vectors[start : start + _SHARD_ROWS]).select(identity.schema.names)
        provenance = ShardProvenance(
            run_id="benchmark", rows_planned=len(table), logit_scale=100.0, compute_dtype="fp32"
        )
        dataset.write_shard(f"{shard:032x}", "2026-01-01", table, QUARANTINE.empty_table(), provenance)


def _rows(first: int, vectors: Vectors) -> pa.Table:
    numbers = range(first, first + len(vectors))
    digests = [f"{number:032x}" for number in numbers]
    return pa.table(
        {
            "id": [f"image-{number:08d}" for number in numbers],
            "image_uri": [f"s3://images/{number}.jpg" for number in numbers],
            "image_sha256": [digest * 2 for digest in digests],
            "image_phash": pa.array(numbers, pa.uint64()),
            "image_pixels_xxh128": digests,
            "image_width": pa.repeat(pa.scalar(640, pa.int32()), len(digests)),
            "image_height": pa.repeat(pa.scalar(480, pa.int32()), len(digests)),
            "image_blank_rows": pa.repeat(pa.scalar(0, pa.float32()), len(digests)),
            "image_bytes": pa.repeat(pa.scalar(100_000, pa.int64()), len(digests)),
            "image_embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
            "source_fingerprint": digests,
        }
    )
