"""Finds the rows that meet a condition, for a search among them.

In: a dataset and a condition in SQL on its columns. Out: a local Parquet file with the keys of those rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from pipeline.curation.filter.filtering import filtering
from pipeline.curation.filter.judge import FAILED
from pipeline.curation.filter.rules import WHERE, FilterRule
from pipeline.curation.vectors import KEY
from pipeline.phases import OnPhase, ignore
from pipeline.scratch.folder import ScratchFolder

#: Finds the rows of a dataset, by its URI, that meet a condition; evaluating it may take so many seconds. The file of
#: keys is there in the block.
FindMatching = Callable[[str, str, float], AbstractContextManager[str]]


@contextmanager
def matching_rows(out: str, where: str, limit_s: float) -> Iterator[str]:
    """A `FindMatching` that evaluates the condition in this process. Raises the errors of `filtering`."""
    with ScratchFolder() as folder:
        path = str(folder / "matching.parquet")
        write_matching(out, where, limit_s, path)
        yield path


def write_matching(out: str, where: str, limit_s: float, path: str, on_phase: OnPhase = ignore) -> None:
    """Write the keys of the rows that meet the condition to the local file `path`. Raises the errors of `filtering`."""
    with filtering(out, [FilterRule(WHERE, where)], None, on_phase, limit_s=limit_s) as (_, work):
        work.copy(f"SELECT {', '.join(KEY)} FROM judged WHERE {FAILED} = 0", path)
