"""How far two duplicates are apart: the cosine of their vectors, the bits in which their hashes differ.

In: pairs of rows and the rung of each. Out: both values, where the rung compares such things and the run has read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.curation.dedup.pairs.compare import cosines
from pipeline.curation.dedup.pairs.hashes import hash_bits, turned_bits
from pipeline.curation.dedup.rows import Indices, Mask, Rows
from pipeline.curation.dedup.settings import TEXT_RUNGS, parts_of
from pipeline.curation.vectors import IMAGE, TEXT
from pipeline.vocabulary import Rung

_HASH = "image_phash"


@dataclass(frozen=True, slots=True)
class Distances:
    """Distances of pairs.

    Attributes:
        cosine: of the vectors that the rung compares; NaN where none was computed. It is 1 for equal bytes or pixels,
            although the model may have rounded their vectors differently in two batches.
        bits: in which the perceptual hashes differ, on rung mirrored after one is turned; -1 where the rung does not
            compare them.
    """

    cosine: npt.NDArray[np.float32]
    bits: npt.NDArray[np.int8]

    @classmethod
    def of_pairs(
        cls, rows: Rows, one: Indices, other: Indices, rung: npt.NDArray[np.int8], rungs: Sequence[str]
    ) -> Distances:
        """The distances of `one[i]` and `other[i]`, on the rung at position `rung[i]` of `rungs`."""
        on = [set(parts_of(name)) for name in rungs]
        on_texts = _at(rung, [parts <= set(TEXT_RUNGS) for parts in on])
        cosine = np.full(len(one), np.nan, np.float32)
        for vector, mask in ((IMAGE, ~on_texts), (TEXT, on_texts)):
            if vector in rows.vectors and mask.any():
                vectors = rows.matrix(vector)
                products = cosines(vectors, one[mask], vectors, other[mask])
                cosine[mask] = np.where(products == 0, np.nan, np.minimum(products, 1))
        cosine[_at(rung, [bool(parts & {Rung.BYTES, Rung.PIXELS}) for parts in on]) & ~np.isnan(cosine)] = 1
        bits = np.full(len(one), -1, np.int8)
        for compared, among in ((turned_bits, Rung.MIRRORED), (hash_bits, Rung.PHASH)):
            mask = _at(rung, [among in parts for parts in on])
            if mask.any():
                hashes = rows.column(_HASH)
                bits[mask] = compared(hashes[one[mask]], hashes[other[mask]])
        return cls(cosine, bits)

    def placed(self, count: int, rows: Indices) -> Distances:
        """The same for `count` rows, of which `rows` have these distances and the others none."""
        cosine, bits = np.full(count, np.nan, np.float32), np.full(count, -1, np.int8)
        cosine[rows], bits[rows] = self.cosine, self.bits
        return Distances(cosine, bits)

    def columns(self, block: slice) -> dict[str, pa.Array]:
        """Two columns of a table, for a block of rows."""
        cosine, bits = self.cosine[block], self.bits[block]
        return {"cosine": pa.array(cosine, mask=np.isnan(cosine)), "bits": pa.array(bits, mask=bits < 0)}


def _at(rung: npt.NDArray[np.int8], wanted: Sequence[bool]) -> Mask:
    """Where the rung is one of those wanted."""
    found: Mask = np.isin(rung, np.flatnonzero(wanted))
    return found
