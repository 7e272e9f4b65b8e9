"""Progress of a phase is reported as a running total."""

from __future__ import annotations

from pipeline.phases import counted


def test_rows_are_reported_as_a_running_total():
    calls = []
    on_rows = counted(lambda *call: calls.append(call), "Reading rows", 9)
    for rows in (4, 5):
        on_rows(rows)
    assert calls == [("Reading rows", 4, 9), ("Reading rows", 9, 9)]
