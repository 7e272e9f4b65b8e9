"""Estimates the chance of a cosine: how often an image reaches it with the text of another record.

A cosine alone means little: unrelated pairs may have 0.1 with one model and 0.4 with another. So records are sampled
from the dataset, and each of their images is compared with every text other than its own. The chance of a cosine c is
(1 + mismatched pairs with a cosine >= c) / (1 + mismatched pairs): the p-value of the hypothesis that image and text
are unrelated.

The sample is the same on every run: short runs of rows spread over all current rows, of which those with a text and the
smallest digests are taken. At most about 16,384 vectors are read, however large the dataset is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.curation.current_rows import CurrentRows
from pipeline.curation.vectors import IMAGE, KEY, TEXT, matrix
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.scan import choose
from pipeline.scratch.workspace import Workspace

RECORDS = 2048
#: More than RECORDS, since some have no text.
_ROWS_READ = 8 * RECORDS


@dataclass(frozen=True, slots=True)
class Chance:
    """The cosines of mismatched pairs.

    Attributes:
        records: how many records the pairs are made of.
        cosines: ascending, float32.
    """

    records: int
    cosines: npt.NDArray[np.float32]

    def of(self, cosines: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """The chance of each of these cosines, above 0 and at most 1."""
        reached = len(self.cosines) - np.searchsorted(self.cosines, cosines, "left")
        chances: npt.NDArray[np.float64] = np.divide(1.0 + reached, 1.0 + len(self.cosines), dtype=np.float64)
        return chances

    @property
    def mean(self) -> float:
        """Mean cosine of the pairs."""
        return float(self.cosines.mean(dtype=np.float64))

    @property
    def std(self) -> float:
        """Their standard deviation."""
        return float(self.cosines.std(dtype=np.float64))


def sample_chance(dataset: Dataset) -> Chance | None:
    """Mismatched pairs of `dataset`; None if there are none, as all its texts are equal. Raises StorageError."""
    if TEXT not in dataset.identity.vector_columns or IMAGE not in dataset.identity.vector_columns:
        return None
    sample = _sample(dataset)
    _, text_number = np.unique(np.array(sample["text"].to_pylist(), object), return_inverse=True)
    cosines = matrix(sample[IMAGE]) @ matrix(sample[TEXT]).T
    mismatched = cosines[text_number[:, None] != text_number[None, :]]
    mismatched.sort()
    return Chance(sample.num_rows, mismatched) if len(mismatched) else None


def _sample(dataset: Dataset) -> pa.Table:
    """Up to RECORDS current records with an image and a text, ordered by their digests."""
    columns = [*KEY, "text", IMAGE, TEXT]
    sample = choose(dataset.identity.schema, columns).empty_table()
    with Workspace() as work:
        current = CurrentRows(dataset, work)
        for rows in current.read(columns, current.sample(_ROWS_READ)):
            pairs = rows.select(columns).filter(pc.and_(rows[TEXT].is_valid(), rows[IMAGE].is_valid()))
            both = pa.concat_tables([sample, pairs])
            sample = both.take(np.argsort(_digests(both), kind="stable")[:RECORDS])
    return sample


def _digests(rows: pa.Table) -> npt.NDArray[np.uint64]:
    """A 64-bit digest of each key, the same on every machine."""
    keys = zip(*(rows[name].to_pylist() for name in KEY), strict=True)
    digests = (hashlib.blake2b("\0".join(key).encode(), digest_size=8).digest() for key in keys)
    return np.frombuffer(b"".join(digests), ">u8")
