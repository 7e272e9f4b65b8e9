"""A head that goes away during a run is reported once."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from actors.machine.head_watch import _watch
from pipeline.errors import RunError


def asked(answers: str, ended: threading.Event) -> Callable[[], bool]:
    """Answers `.` as a head does and `x` as a closed port does, then ends the watch."""
    left = list(answers)

    def ask() -> bool:
        if not left:
            ended.set()
            raise RunError("Connection refused.")
        if left.pop(0) == "x":
            raise RunError("Connection refused.")
        return True

    return ask


@pytest.mark.parametrize(("answers", "reported"), [("." * 5, 0), (".x.x.x", 0), (".xxxxxxxxxx", 1)])
def test_only_a_head_that_stays_away_is_reported(answers: str, reported: int, caplog: pytest.LogCaptureFixture) -> None:
    ended = threading.Event()
    _watch("head:6379", asked(answers, ended), ended, 0.01, 0.05)
    assert caplog.text.count("head:6379 has not answered") == reported
    assert caplog.text.count("Connection refused. Committed shards stay; run the same command again") == reported
