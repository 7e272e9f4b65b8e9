"""A job's time limit, enforced by its own driver: while it polls, while it does not, and when it does not react."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from actors.jobs.time_limit import TimeLimit
from pipeline.config import parse
from pipeline.jobs.folder import read_summary, write_job
from pipeline.jobs.job import JobRun, job_of
from tests.fixtures.runs import config

SHORT_S, LONG_S = 0.05, 30.0


def in_a_thread(limit: TimeLimit, seconds: float) -> None:
    """Hold the limit's block for at most this long, as the driver of the backend `local` does."""

    def hold() -> None:
        with limit:
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s and not limit.is_set():
                time.sleep(0.01)

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()


def test_a_run_that_polls_sees_the_limit() -> None:
    limit = TimeLimit(SHORT_S, None, LONG_S, pytest.fail)
    in_a_thread(limit, LONG_S)
    assert limit.expired


@pytest.mark.parametrize("timeout_s", [None, LONG_S])
def test_a_job_that_ends_in_time_never_sees_it(timeout_s: float | None) -> None:
    limit = TimeLimit(timeout_s, None, LONG_S, pytest.fail)
    in_a_thread(limit, 0.1)
    assert not limit.expired
    assert not limit.is_set()


def test_the_request_of_somebody_else_counts_too() -> None:
    request = threading.Event()
    limit = TimeLimit(None, request, LONG_S, pytest.fail)
    assert not limit.is_set()
    request.set()
    assert (limit.is_set(), limit.expired) == (True, False)


def test_a_process_that_does_not_react_is_given_up() -> None:
    given_up = threading.Event()
    handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with TimeLimit(SHORT_S, None, SHORT_S, given_up.set):
            assert given_up.wait(LONG_S)
    finally:
        signal.signal(signal.SIGTERM, handler)


def test_a_process_that_reacts_is_interrupted_and_not_given_up() -> None:
    received = threading.Event()
    handler = signal.signal(signal.SIGTERM, lambda *_: received.set())
    try:
        with TimeLimit(SHORT_S, None, LONG_S, pytest.fail) as limit:
            end_s = time.monotonic() + LONG_S
            while not received.is_set() and time.monotonic() < end_s:
                time.sleep(0.01)
        assert (received.is_set(), limit.expired) == (True, True)
    finally:
        signal.signal(signal.SIGTERM, handler)


def test_a_thread_of_another_process_is_not_given_up() -> None:
    given_up = threading.Event()
    in_a_thread(TimeLimit(SHORT_S, None, 0.0, given_up.set), LONG_S)
    assert not given_up.wait(0.1)


@pytest.fixture
def silent_server() -> object:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/x.tar"


@pytest.mark.slow
def test_a_driver_that_nobody_watches_ends_at_its_limit(tmp_path: Path, silent_server: str) -> None:
    """While it lists a source, which polls nothing."""
    tree = config(tmp_path).model_dump(mode="json")
    tree["source"]["uris"] = [silent_server]
    runs = tuple(JobRun(key, parse(tree)) for key in ("2026-11-01", "2026-11-02"))
    uri = write_job(str(tmp_path / "out"), "embed-a1", job_of(runs, timeout_s=1.0))
    began_s = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "actors.driver", uri], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert time.monotonic() - began_s < LONG_S, "the read's own deadline"
    summary = read_summary(str(tmp_path / "out"), "embed-a1")
    assert summary is not None
    assert (summary.state, summary.timed_out) == ("failed", True)
    assert "had run for its limit of 1 s" in summary.message
    assert [run.state for run in summary.runs] == ["stopped", "skipped"]
    assert "Traceback" not in done.stderr
