"""The start of a local Ray: tried again, interruptible, and named when it fails. No Ray is started here."""

from __future__ import annotations

import atexit
import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import ray

from actors.machine.local_ray import start
from actors.machine.ray_folder import RayFolder, make_ray_folder
from actors.stopping import StopSignal
from pipeline.errors import RunError

TIMED_OUT = "The current node timed out during startup."


@pytest.fixture
def folder() -> Iterator[RayFolder]:
    folder = make_ray_folder()
    yield folder
    atexit.register(ray.shutdown, _exiting_interpreter=True)  # an interrupted start gives it up
    folder._keep_logs = False
    folder.remove()


def failing(times: int, error: Exception) -> tuple[Callable[[], None], list[float]]:
    """A start that fails so often, and when it was called."""
    calls: list[float] = []

    def init() -> None:
        calls.append(time.monotonic())
        if len(calls) <= times:
            raise error

    return init, calls


def start_here(init: Callable[[], None], folder: RayFolder) -> None:
    with StopSignal() as stop:
        ended = threading.Event()
        try:
            start(init, lambda: None, folder, stop, ended)
        finally:
            ended.set()


def test_a_start_that_failed_is_tried_again(folder: RayFolder, caplog: pytest.LogCaptureFixture) -> None:
    init, calls = failing(2, Exception(TIMED_OUT))
    start_here(init, folder)
    assert len(calls) == 3
    assert "attempt 1 of 3" in caplog.text
    assert TIMED_OUT in caplog.text


def test_a_start_that_always_fails_is_an_error_with_the_cure_and_the_place_of_the_logs(folder: RayFolder) -> None:
    init, calls = failing(99, Exception(TIMED_OUT))
    with pytest.raises(RunError, match=f"{TIMED_OUT} The machine may be overloaded.*{folder.path}"):
        start_here(init, folder)
    assert len(calls) == 3


def test_a_full_disk_is_not_tried_again(folder: RayFolder) -> None:
    init, calls = failing(99, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(RunError, match="No space left on device"):
        start_here(init, folder)
    assert len(calls) == 1


def test_a_signal_ends_a_start_that_hangs(folder: RayFolder) -> None:
    hung = threading.Event()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    began_s = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        start_here(lambda: hung.wait(60) and None, folder)
    hung.set()
    assert ended.value.code == 128 + signal.SIGTERM
    assert time.monotonic() - began_s < 5
