"""Numbers in place of the ids of rows, for clients whose ids are numbers.

In: ids. Out: for each the first 48 bits of its SHA-256, and the way back. The number follows from the id alone, so it
stays the same when the dataset grows, is indexed or compacted, and it is the same on every replica. It has at most 15
digits, which JavaScript reads exactly. Two of a million rows have the same number once in 560 datasets; which of them
a number then leads to is not defined.

The ids that were given a number lately are kept; for others the keys of all rows are read.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import pyarrow as pa

from pipeline.curation.current_rows import CurrentRows
from pipeline.dataset.dataset import Dataset
from pipeline.scratch.workspace import Workspace

_HEX_DIGITS = 12
#: About 40 MB.
_KEPT = 2**18
_IDS = f"""
SELECT digest, min(id) FROM (SELECT substr(sha256(id), 1, {_HEX_DIGITS}) AS digest, id FROM rows)
SEMI JOIN asked USING (digest) GROUP BY digest
"""


def number_of(id_: str) -> int:
    """The number of a row."""
    return int(hashlib.sha256(id_.encode()).hexdigest()[:_HEX_DIGITS], 16)


class NumberedIds:
    """Numbers of the rows of a dataset. May be used by several threads."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset, self._lock = dataset, threading.Lock()
        self._kept: OrderedDict[int, str] = OrderedDict()

    def numbers(self, ids: Iterable[str]) -> list[int]:
        """The number of each id."""
        found = [(number_of(id_), id_) for id_ in ids]
        self._keep(found)
        return [number for number, _ in found]

    def ids(self, numbers: Sequence[int]) -> dict[int, str]:
        """The ids behind numbers, without those that no row has. Raises StorageError, RunError."""
        with self._lock:
            found = {number: self._kept[number] for number in numbers if number in self._kept}
        if new := set(numbers) - set(found):
            read = self._read(new)
            self._keep(read)
            found.update(read)
        return found

    def _keep(self, found: Iterable[tuple[int, str]]) -> None:
        with self._lock:
            for number, id_ in found:
                self._kept[number] = id_
                self._kept.move_to_end(number)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)

    def _read(self, numbers: Iterable[int]) -> list[tuple[int, str]]:
        digests = pa.array([format(number, f"0{_HEX_DIGITS}x") for number in numbers], pa.string())
        with Workspace() as work:
            CurrentRows(self._dataset, work)
            work.register("asked", pa.table({"digest": digests}))
            return [(int(digest, 16), id_) for digest, id_ in work.rows(_IDS)]
