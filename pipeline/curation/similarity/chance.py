"""What a cosine is worth against chance: how often an image reaches it with the text of another record.

Cosines of one model say little by themselves: unrelated pairs may have 0.1 with one and 0.4 with another. So records
are drawn from the dataset, and every image of theirs is compared with every text that is not its own. The chance of a
cosine c is (1 + mismatched pairs with a cosine >= c) / (1 + mismatched pairs): the p-value of the hypothesis that the
text is anybody's.

The draw is the same every time: rows in short runs spread over all current ones, of which those with a text and the
smallest digests are taken. It reads at most some 16,384 rows' vectors, in a dataset of any size.
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
#: More than RECORDS, for some have no text.
_ROWS_READ = 8 * RECORDS


@dataclass(frozen=True, slots=True)
class Chance:
    """Mismatched pairs.

    Attributes:
        records: how many records they are made of.
        cosines: ascending, float32.
    """

    records: int
    cosines: npt.NDArray[np.float32]

    def of(self, cosines: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """How often chance reaches each of these cosines, above 0 and at most 1."""
        reached = len(self.cosines) - np.searchsorted(self.cosines, cosines, "left")
        often: npt.NDArray[np.float64] = np.divide(1.0 + reached, 1.0 + len(self.cosines), dtype=np.float64)
        return often

    @property
    def mean(self) -> float:
        """Mean cosine of the pairs."""
        return float(self.cosines.mean(dtype=np.float64))

    @property
    def std(self) -> float:
        """Their standard deviation."""
        return float(self.cosines.std(dtype=np.float64))


def sample_chance(dataset: Dataset) -> Chance | None:
    """Mismatched pairs of `dataset`; None where no two of its texts differ. Raises StorageError, UsageError."""
    if TEXT not in dataset.identity.vector_columns or IMAGE not in dataset.identity.vector_columns:
        return None
    drawn = _draw(dataset)
    _, words = np.unique(np.array(drawn["text"].to_pylist(), object), return_inverse=True)
    cosines = matrix(drawn[IMAGE]) @ matrix(drawn[TEXT]).T
    mismatched = cosines[words[:, None] != words[None, :]]
    mismatched.sort()
    return Chance(drawn.num_rows, mismatched) if len(mismatched) else None


def _draw(dataset: Dataset) -> pa.Table:
    """Up to RECORDS current records with an image and a text, ordered by their digests."""
    columns = [*KEY, "text", IMAGE, TEXT]
    drawn = choose(dataset.identity.schema, columns).empty_table()
    with Workspace() as work:
        current = CurrentRows(dataset, work)
        for rows in current.read(columns, current.sample(_ROWS_READ)):
            pairs = rows.select(columns).filter(pc.and_(rows[TEXT].is_valid(), rows[IMAGE].is_valid()))
            both = pa.concat_tables([drawn, pairs])
            drawn = both.take(np.argsort(_digests(both), kind="stable")[:RECORDS])
    return drawn


def _digests(rows: pa.Table) -> npt.NDArray[np.uint64]:
    """A number for each state of a record, the same on every machine."""
    keys = zip(*(rows[name].to_pylist() for name in KEY), strict=True)
    digests = (hashlib.blake2b("\0".join(key).encode(), digest_size=8).digest() for key in keys)
    return np.frombuffer(b"".join(digests), ">u8")
