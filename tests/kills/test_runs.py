"""Kill drivers, actors and decoders at any point of a run: the same command then completes it, with every row once.

Readers never see a part of a shard. The drivers are real processes on local folders, killed or stopped at a state that
they report or after a number of commits. `drivers` join the Ray of the tests; each of `alone` starts its own Ray, which
must end with it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.deadly.deadly_mark import MARK
from tests.fixtures.driving import Driver, Drivers, assert_adds_up, assert_agents_gone, committed, rows_visible
from tests.fixtures.forks import ForkServer
from tests.fixtures.minimal.forking import VARIABLE
from tests.fixtures.pictures import write_folder, write_tars
from tests.fixtures.places import DEADLY

pytestmark = pytest.mark.slow

TARS, EACH = 10, 48
ROWS = TARS * EACH


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ten tars of captioned pictures: ten shards."""
    return str(write_tars(tmp_path_factory.mktemp("source") / "tars", TARS, EACH))


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    yield
    assert_agents_gone()


@pytest.fixture
def drivers(tmp_path: Path, local_ray_address: str) -> Iterator[Drivers]:
    with Drivers(tmp_path, address=local_ray_address) as drivers:
        yield drivers


@pytest.fixture
def alone(tmp_path: Path, fork_server: ForkServer) -> Iterator[Drivers]:
    with Drivers(tmp_path, fork_server.env) as alone:
        yield alone


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def embed(source: str, out: Path, *options: str) -> tuple[str, ...]:
    return ("embed", source, str(out), "--model", "demo", *options)


def assert_complete_and_done(drivers: Drivers, command: tuple[str, ...], out: Path) -> None:
    """Assert that the same command has nothing left to do and that every row exists once."""
    again = drivers.run(*command)
    assert (again["rows_in"], again["rows_planned"]) == (ROWS, 0)
    assert rows_visible(out) == ROWS
    assert_adds_up(drivers, str(out), ROWS)


def test_a_driver_that_is_killed_twice_leaves_whole_shards_and_the_next_run_continues(alone, drivers, tars, out):
    """Another killed one, on a Ray that it joined: tests/s3/test_object_store_runs.py."""
    command = embed(tars, out)
    done = 0
    for commits in (0, TARS // 2):
        driver = alone.start(*command)
        driver.until(
            lambda commits=commits, driver=driver: committed(out) >= commits if commits else driver.reached("starting")
        )
        assert driver.end() == -signal.SIGKILL
        assert done <= rows_visible(out)
        done = rows_visible(out)
        assert commits * EACH <= done < ROWS
    last = drivers.run(*command)
    assert (last["rows_already_done"], last["stats"]["embedded"]) == (done, ROWS - done)
    assert rows_visible(out) == ROWS
    assert_adds_up(drivers, str(out), ROWS)


def test_killed_actors_are_replaced_and_the_run_completes(drivers, tars, out):
    command = embed(tars, out)
    driver = drivers.start(*command)
    for commits, role in enumerate(("Decoder", "Embedder", "Writer"), 1):
        driver.until(lambda commits=commits: committed(out) >= commits)
        driver.kill(f"ray::{role}")
    summary = driver.finish()
    assert summary["actors_replaced"] >= 3
    assert (summary["stats"]["embedded"], summary["stats"]["quarantined"]) == (ROWS, {})
    assert_complete_and_done(drivers, command, out)


def test_only_the_image_that_kills_its_decoder_is_quarantined(alone, drivers, tmp_path, out):
    rows = 5
    photos = write_folder(tmp_path / "photos", rows)
    with (photos / "00003.jpg").open("ab") as file:
        file.write(MARK)
    # Forked processes would not be armed.
    armed = {"PYTHONPATH": f"{DEADLY}{os.pathsep}{os.environ['PYTHONPATH']}", VARIABLE: ""}
    command = embed(str(photos), out, "--max-quarantine", "0.3")
    summary = alone.run(*command, env=armed)
    assert summary["stats"]["quarantined"] == {"crashed_worker": 1}
    assert summary["stats"]["embedded"] == rows - 1
    assert drivers.run(*command)["rows_planned"] == 0
    assert_adds_up(drivers, str(out), rows, quarantined=1)
    assert rows_visible(out) == rows - 1
    retried = drivers.run("retry", str(out), "--reason", "crashed_worker")
    assert (retried["rows_planned"], retried["stats"]["embedded"]) == (1, 1)
    assert rows_visible(out) == rows
    assert_adds_up(drivers, str(out), rows)


def test_two_drivers_of_one_output_commit_every_shard_once(drivers, tars, out):
    command = embed(tars, out)
    both = [drivers.start(*command) for _ in range(2)]
    summaries = [driver.finish() for driver in both]
    assert sum(summary["stats"]["embedded"] for summary in summaries) == ROWS
    for summary in summaries:
        done = summary["rows_already_done"] + summary["rows_elsewhere"] + summary["stats"]["embedded"]
        assert (done, summary["rows_left"]) == (ROWS, 0)
    assert_complete_and_done(drivers, command, out)


def stop(driver: Driver, number: int) -> None:
    """Send SIGTERM like a scheduler or SIGINT like a terminal; the exit code must show which signal it was."""
    if number == signal.SIGINT:
        os.killpg(driver.process.pid, number)
    else:
        os.kill(driver.process.pid, number)
    driver.wait()
    assert (driver.process.returncode, "Traceback" in driver.stderr()) == (128 + number, False)


@pytest.mark.parametrize(("state", "number"), [("planning", signal.SIGTERM), ("starting", signal.SIGINT)])
def test_the_exit_code_of_a_run_that_is_stopped_early_shows_the_signal(alone, tars, out, state, number):
    driver = alone.start(*embed(tars, out))
    driver.until(lambda: driver.reached(state))
    stop(driver, number)
    assert rows_visible(out) == 0


def test_a_stopped_run_commits_open_shards_and_the_next_run_continues(alone, drivers, tars, out):
    command = embed(tars, out)
    for place, number in ((drivers, signal.SIGTERM), (alone, signal.SIGINT)):
        driver = place.start(*command)
        driver.until(lambda driver=driver: driver.reached("running"))
        stop(driver, number)
        assert driver.events[-1]["state"] == "stopped"
        assert driver.events[-1]["rows_left"] == ROWS - rows_visible(out)
    done = rows_visible(out)
    last = drivers.run(*command)
    assert (last["rows_already_done"], last["stats"]["embedded"]) == (done, ROWS - done)
    assert rows_visible(out) == ROWS
    assert_adds_up(drivers, str(out), ROWS)
