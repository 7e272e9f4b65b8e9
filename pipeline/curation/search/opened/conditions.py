"""The rows that meet the conditions of requests: evaluated once for requests that follow one another.

In: conditions. Out: a search of the rows that meet each. A page repeats its condition with every search, and to
evaluate one takes seconds on a million rows. What was found is used for as long as a change of the dataset may go
unnoticed, since a condition may name columns of tables that other commands replace.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.curation.search.exact import SearchRows
from pipeline.curation.search.matching import FindMatching, matching_rows
from pipeline.curation.search.run import Matching
from pipeline.dataset.dataset import Dataset
from pipeline.scratch.folder import ScratchFolder
from pipeline.scratch.workspace import scratch_errors

#: Conditions that are kept. Each takes a bit for each row, and on the disk the keys of those that meet it.
_KEPT = 8
#: Gives the search of the rows with certain ids, which are in the local Parquet file with their keys.
Narrow = Callable[[pa.Array, str], SearchRows]


@dataclass(frozen=True, slots=True)
class HowToMatch:
    """How rows that meet conditions are found.

    Attributes:
        keep_s: how long they are taken to be the same.
        find: finds them.
    """

    keep_s: float
    find: FindMatching = matching_rows


@dataclass(frozen=True, slots=True)
class _Met:
    """The rows that meet a condition, and when that was found out, in seconds of the monotonic clock."""

    matching: Matching
    at_s: float
    folder: ScratchFolder


class KnownConditions:
    """The conditions on the rows of a dataset that have a vector in one column. May be used by several threads.

    Args:
        dataset: the dataset.
        narrow: see `Narrow`.
        how: see `HowToMatch`.
    """

    def __init__(self, dataset: Dataset, narrow: Narrow, how: HowToMatch) -> None:
        self._dataset, self._narrow, self._how = dataset, narrow, how
        self._met: OrderedDict[str, _Met] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def matching(self, where: str, limit_s: float) -> Iterator[Matching]:
        """The rows that meet a condition; in the block their keys stay on the disk, whatever other threads ask.

        Raises:
            UsageError, StorageError, RunError: the condition cannot be evaluated.
        """
        met = self._known(where) or self._found(where, limit_s)  # held until the block ends, and its folder with it
        yield met.matching

    def _known(self, where: str) -> _Met | None:
        with self._lock:
            met = self._met.get(where)
            if met is None or time.monotonic() - met.at_s >= self._how.keep_s:
                return None
            self._met.move_to_end(where)
            return met

    def _found(self, where: str, limit_s: float) -> _Met:
        met = self._evaluate(where, limit_s)
        with self._lock:
            self._met[where] = met
            self._met.move_to_end(where)
            while len(self._met) > _KEPT:
                self._met.popitem(last=False)
        return met

    def _evaluate(self, where: str, limit_s: float) -> _Met:
        began_s, folder = time.monotonic(), ScratchFolder()
        kept = str(folder.path / "keys.parquet")
        with self._how.find(self._dataset.uri, where, limit_s) as keys, scratch_errors(folder.path):
            shutil.move(keys, kept)
            ids = pq.read_table(kept, columns=["id"])["id"].combine_chunks()
        return _Met(Matching(self._narrow(ids, kept), kept), began_s, folder)
