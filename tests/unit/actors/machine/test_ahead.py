"""A start in a thread: its error is raised where its result is needed, and a signal ends it."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from actors.machine.ahead import Ahead
from actors.stopping import Interrupted, StopSignal
from pipeline.errors import RunError


def test_an_error_is_raised_by_the_result_and_not_by_waiting() -> None:
    def fail(_: StopSignal) -> None:
        raise RunError("No Ray here.")

    ahead = Ahead(fail)
    ahead.wait()
    with pytest.raises(RunError, match="No Ray here"):
        ahead.result()


@pytest.mark.parametrize("gives_up", [True, False])
def test_a_signal_ends_the_start_and_is_raised_even_if_the_start_had_ended_by_then(gives_up: bool) -> None:
    seen: list[int | None] = []

    def start(stop: StopSignal) -> None:
        while stop.number is None:
            time.sleep(0.01)
        seen.append(stop.number)
        if gives_up:
            stop.raise_if_stopped()

    ahead = Ahead(start)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(Interrupted) as interrupted:
        ahead.result()
    assert (interrupted.value.number, seen) == (signal.SIGINT, [signal.SIGINT])
