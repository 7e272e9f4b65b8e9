"""The tally of what a scan leaves out."""

from __future__ import annotations

from pipeline.sources.skipped import SkipTally
from pipeline.stats import Skipped
from pipeline.vocabulary import Skip


def test_a_tally_counts_by_kind_and_keeps_the_first_example() -> None:
    tally, other = SkipTally(), SkipTally()
    tally.add(Skip.VANISHED, "\udcff.jpg")
    tally.add(Skip.UNKNOWN_SUFFIX, "a.pdf", 3)
    tally.add(Skip.LONE_IMAGE, "none", 0)
    other.add(Skip.VANISHED, "later.jpg", 4)
    tally.merge(other)
    assert tally.skipped() == (
        Skipped(Skip.UNKNOWN_SUFFIX, 3, "a.pdf"),
        Skipped(Skip.VANISHED, 5, "\\udcff.jpg"),
    )
