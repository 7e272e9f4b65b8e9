"""A job that finishes nothing is reported once per standstill; planning and steps are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows.scheduled.pages.stall import STALLED_S, StallWatch
from pipeline.jobs.job import JobProgress, StepProgress
from pipeline.jobs.progress import Progress, State
from pipeline.stats import Stats


def progress(state: State, records: int, waiting_for: str = "") -> JobProgress:
    run = Progress("r", state, rows_planned=9, stats=Stats(embedded=records), waiting_for=waiting_for)
    return JobProgress("j", "running", 0, 1, run)


def watched(*seen: JobProgress, every_s: float = STALLED_S) -> tuple[list[str], list[str]]:
    """The words after each progress, and the events."""
    now, events = [0.0], list[str]()
    watch = StallWatch(events.append, lambda: now[0])
    words = []
    for one in seen:
        words.append(watch.see(one))
        now[0] += every_s
    return words, events


def test_a_standstill_is_reported_once_and_a_later_one_again():
    waiting = progress("starting", 0, "an embedder")
    words, events = watched(waiting, waiting, waiting, progress("running", 1), progress("running", 1))
    assert words == [
        "",
        "no record was finished for 30 min 00 s, waiting for an embedder",
        "no record was finished for 1 h 00 min, waiting for an embedder",
        "",
        "no record was finished for 30 min 00 s",
    ]
    assert events == [words[1], words[4]]


@pytest.mark.parametrize(
    "seen",
    [
        [progress("planning", 0)] * 3,
        [progress("running", number) for number in range(3)],
        [replace(progress("running", 9), step=StepProgress(0, "dedup", "Comparing"))] * 3,
        [JobProgress("j", "running", 0, 1)] * 3,
    ],
    ids=["planning", "progress", "a step", "not begun"],
)
def test_what_is_no_standstill(seen):
    assert watched(*seen) == (["", "", ""], [])
