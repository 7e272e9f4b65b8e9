"""Finds the rows that show the same picture as a file, by what dedup compares: bytes, pixels, hash, vector.

In: a dataset, and what is known of the picture. Out: the rows that are duplicates of it, the strongest rung first, and
within it the nearest first. All latest rows are compared, in bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.vectors import IMAGE, Vectors, vector_blocks
from pipeline.vocabulary import Rung

_COLUMNS = ("image_sha256", "image_pixels_xxh128", "image_phash")


@dataclass(frozen=True, slots=True)
class SoughtPicture:
    """A picture as the dataset's model sees it; `vector` is (D,) of norm 1."""

    sha256: str
    pixels_xxh128: str
    phash: int
    vector: Vectors


@dataclass(frozen=True, slots=True)
class SamePicture:
    """A row that shows the picture: the strongest rung on which it does, the cosine, and the bits of the hashes."""

    id: str
    rung: str
    cosine: float
    bits: int


def find_picture(out: str, picture: SoughtPicture, settings: DedupSettings) -> list[SamePicture]:
    """The rows of the dataset at `out` that duplicate the picture, by the thresholds of `settings`.

    Raises:
        UsageError: the dataset has no images.
        IdentityError: there is no dataset.
        StorageError, RunError: it cannot be read.
    """
    found: list[SamePicture] = []
    for block in vector_blocks(out, IMAGE, _COLUMNS):
        found += _in_block(block.rows, block.vectors, picture, settings)
    strength = {str(rung): place for place, rung in enumerate(Rung)}
    return sorted(found, key=lambda row: (strength[row.rung], -round(row.cosine, 6), row.id))


def _in_block(
    rows: pa.Table, vectors: Vectors, picture: SoughtPicture, settings: DedupSettings
) -> Iterator[SamePicture]:
    cosine = vectors @ picture.vector / np.linalg.norm(vectors, axis=1)
    bits = np.bitwise_count(rows["image_phash"].to_numpy() ^ np.uint64(picture.phash))
    on = {
        Rung.BYTES: rows["image_sha256"].to_numpy() == picture.sha256,
        Rung.PIXELS: rows["image_pixels_xxh128"].to_numpy() == picture.pixels_xxh128,
        Rung.PHASH: bits <= settings.phash_radius,
        Rung.IMAGE: cosine >= settings.image_cosine,
    }
    ids = rows["id"]
    for row in np.flatnonzero(np.logical_or.reduce(list(on.values()))).tolist():
        rung = next(rung for rung, mask in on.items() if mask[row])
        yield SamePicture(ids[row].as_py(), str(rung), min(float(cosine[row]), 1.0), int(bits[row]))
