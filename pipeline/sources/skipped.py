"""Counts what a scan finds and leaves out, by kind, with one example of each.

In: the entries that are not records. Out: `SourceSpec.skipped`, which plans and summaries show.
"""

from __future__ import annotations

from pipeline.stats import Skipped, sum_skipped
from pipeline.vocabulary import Skip


class SkipTally:
    """Counts by kind. Not thread-safe: threads count apart, and `merge` adds them."""

    def __init__(self) -> None:
        self._counts: dict[Skip, int] = {}
        self._examples: dict[Skip, str] = {}

    def add(self, kind: Skip, example: str, count: int = 1) -> None:
        """Count entries; `example` names one of them, and the first of a kind is kept."""
        if kind not in self._examples:
            # Undecodable bytes of a file name are surrogates, which neither JSON nor a terminal can show.
            self._examples[kind] = example.encode("utf-8", "backslashreplace").decode()
        self._counts[kind] = self._counts.get(kind, 0) + count

    def merge(self, other: SkipTally) -> None:
        """Add the counts of `other`."""
        for kind, count in other._counts.items():
            self.add(kind, other._examples[kind], count)

    def skipped(self) -> tuple[Skipped, ...]:
        """What was counted, one value for each kind."""
        return sum_skipped(Skipped(kind, count, self._examples[kind]) for kind, count in self._counts.items() if count)
