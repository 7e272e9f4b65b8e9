"""Busy seconds of calls that run at the same time are counted once."""

from __future__ import annotations

import time

import pytest

from pipeline.stats import BusyClock


def test_overlapping_calls_share_the_time_in_which_any_of_them_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = BusyClock()
    found = []
    for at, step in ((100, "begin"), (103, "begin"), (104, "end"), (110, "end"), (150, "begin"), (151, "end")):
        now = float(at)
        found.append(clock.begin() if step == "begin" else clock.end())
    assert found == [None, None, 4.0, 6.0, None, 1.0]
