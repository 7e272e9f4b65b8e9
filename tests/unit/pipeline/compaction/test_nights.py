"""Test a month of nights with a compaction each week: few files, and the latest state of a plain dictionary."""

from __future__ import annotations

from pathlib import Path

from benchmarks.compaction import SETTINGS, Year
from pipeline.compaction.in_place import compact_in_place
from pipeline.dataset.checks.held import count_held


def test_a_month_of_nights_keeps_the_files_few_and_the_latest_state_right(tmp_path: Path) -> None:
    year = Year(str(tmp_path / "out"), rows=2000)
    for night in range(1, 31):
        year.night(night, changes=20)
        if night % 7 == 0:
            done = compact_in_place(year.dataset.uri, SETTINGS)
            assert done.files_after < 1.5 * done.ideal_files
            assert year.is_right()
    assert year.is_right()
    assert count_held(year.dataset.uri).shards == len(year.dataset.files()) < 12
