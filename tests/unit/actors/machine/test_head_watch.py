"""A head that goes away during a run ends it, and is logged if nothing ended."""

from __future__ import annotations

import pytest

from actors.machine.head_watch import HeadWatch
from pipeline.errors import RunError


def watched(answers: str) -> HeadWatch:
    """A watch over a head that answers (`.`) or refuses (`x`), one letter each 10 ms."""
    left = list(answers)

    def ask() -> None:
        if len(left) == 1:
            watch.end()
        if left.pop(0) == "x":
            raise RunError("Connection refused.")

    watch = HeadWatch("head:6379", ask, lost_s=0.05, log_s=0.1)
    watch.watch(0.01)
    return watch


@pytest.mark.parametrize("answers", ["." * 5, ".x.x.x", "." + "x" * 30 + "."])
def test_a_head_that_answers_again_is_not_lost(answers: str) -> None:
    watch = watched(answers)
    assert not watch.lost
    watch.require()


def test_a_head_that_stays_away_is_lost_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    watch = watched("." + "x" * 30)
    with pytest.raises(RunError, match=r"head:6379 has not answered.*Connection refused.*same command again"):
        watch.require()
    assert caplog.text.count("has not answered") == 1
