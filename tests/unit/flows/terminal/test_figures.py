"""Formatting of sizes, durations, rates and shares for people."""

from __future__ import annotations

import pytest

from flows.terminal import figures
from pipeline import units


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_400, "99.4 kB"), (123_456_789, "123 MB"), (5e15, "5000 TB")],
)
def test_size(n_bytes, text):
    assert units.size(n_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (3.21, "3.2 s"),
        (9.96, "10 s"),
        (59.9, "60 s"),
        (59.96, "1 min 00 s"),
        (75, "1 min 15 s"),
        (3599.6, "1 h 00 min"),
        (7300, "2 h 01 min"),
        (200_000, "2 d 07 h"),
    ],
)
def test_duration(seconds, text):
    assert figures.duration(seconds) == text


def test_rate_and_share():
    assert [figures.rate(x) for x in (0.04, 99.94, 99.96, 12_345.6)] == ["0.0", "99.9", "100", "12,346"]
    assert figures.share(0.974) == "97 %"


def test_reasons_are_ordered_by_count_then_name():
    assert figures.by_reason({"b": 1, "timeout": 1200, "a": 1}) == "timeout 1,200, a 1, b 1"
