"""What a session starts ahead for a run: signals meanwhile, and what follows a plan that failed. No Ray starts."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RaySystemError

from actors.crew_size import CrewSize
from actors.run import Run
from actors.session import Session
from actors.stopping import Interrupted, StopSignal
from pipeline.config import ClusterConfig, RunConfig
from pipeline.errors import RunError
from pipeline.model.checkpoints import resolve
from tests.fixtures.runs import config

NOTHING: Any = None


class Starting(Session):
    """A session in which `begin` stands in for the start of Ray and of an embedder."""

    def __init__(self, begin: Callable[[StopSignal], None]) -> None:
        super().__init__(ClusterConfig())
        self._begin = begin

    def _start(self, config: RunConfig, size: CrewSize, stop: StopSignal) -> None:
        self._begin(stop)


def until_stopped(stop: StopSignal) -> None:
    while stop.number is None:
        time.sleep(0.01)


@pytest.fixture(params=["crew_size", "release_embedders"])
def following(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Session], object]:
    """What a job calls after a run whose plan failed."""
    run_config = config(tmp_path)
    model = resolve(run_config.model)
    calls: dict[str, Callable[[Session], object]] = {
        "crew_size": lambda session: session.crew_size(run_config, model),
        "release_embedders": lambda session: session.release_embedders(),
    }
    return calls[request.param]


def test_a_signal_inside_the_start_of_the_thread_leaves_no_start_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    class Signalled(threading.Thread):
        def start(self) -> None:
            super().start()
            signal.raise_signal(signal.SIGINT)

    def begin(_: StopSignal) -> None:
        time.sleep(0.1)
        ended.set()

    monkeypatch.setattr(threading, "Thread", Signalled)
    with pytest.raises((KeyboardInterrupt, SystemExit)), Starting(begin) as session:
        session.expect(NOTHING, NOTHING)
    assert ended.is_set()  # the end of the session waited for it


def test_a_failed_start_is_no_failure_of_the_next_run(
    following: Callable[[Session], object], caplog: pytest.LogCaptureFixture
) -> None:
    def begin(_: StopSignal) -> None:
        raise RunError("No Ray here.")

    with Starting(begin) as session:
        session.expect(NOTHING, NOTHING)
        following(session)
        session._settle()
        session.expect(NOTHING, NOTHING)
        with pytest.raises(RunError, match="No Ray here"):
            session._settle()  # the start of this run
    assert "run whose plan failed did not start: No Ray here." in caplog.text


def test_a_signal_while_a_former_start_is_awaited_ends_what_waits(following: Callable[[Session], object]) -> None:
    with Starting(until_stopped) as session:
        session.expect(NOTHING, NOTHING)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(Interrupted):
            following(session)


def test_an_error_of_ray_before_the_first_call_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.txt").write_text("红色连衣裙")

    def begin(_: StopSignal) -> None:
        raise RaySystemError("the head is gone")

    with Starting(begin) as session:
        summary = Run(config(tmp_path)).embed(session)
    assert (summary.state, summary.exit_code, summary.rows_left) == ("failed", 1, 1)
    assert summary.message.startswith("Ray failed: RaySystemError: ")
