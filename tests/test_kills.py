"""Whatever is killed, and whenever: the same command again ends with every row once, and readers never see a part.

Real drivers on local folders; the moments are found by what the drivers tell and commit. `drivers` join the Ray of the
tests; `alone` start a Ray of their own, which must go with them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import Drivers, assert_adds_up, assert_agents_gone, committed, rows_visible
from pictures import write_folder, write_tars

pytestmark = pytest.mark.slow

TARS, EACH = 10, 96
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
def alone(tmp_path: Path) -> Iterator[Drivers]:
    with Drivers(tmp_path) as alone:
        yield alone


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def embed(source: str, out: Path, *options: str) -> tuple[str, ...]:
    return ("embed", source, str(out), "--model", "demo", *options)


def assert_complete_and_done(drivers: Drivers, command: tuple[str, ...], out: Path) -> None:
    """The same command has nothing left to do, and every row is there once."""
    again = drivers.run(*command)
    assert (again["rows_in"], again["rows_planned"]) == (ROWS, 0)
    assert rows_visible(out) == ROWS
    assert_adds_up(drivers, str(out), ROWS)


@pytest.mark.parametrize("commits", [0, 1, TARS - 1])
def test_a_killed_driver_leaves_whole_shards_and_the_next_one_goes_on(alone, drivers, tars, out, commits):
    command = embed(tars, out)
    first = (drivers if commits == 1 else alone).start(*command)
    first.until(lambda: committed(out) >= commits if commits else first.reached("starting"))
    assert first.end() == -signal.SIGKILL
    done = rows_visible(out)
    assert commits * EACH <= done < ROWS or commits == TARS - 1
    second = drivers.run(*command)
    assert (second["rows_already_done"], second["stats"]["embedded"]) == (done, ROWS - done)
    assert rows_visible(out) == ROWS
    assert_adds_up(drivers, str(out), ROWS)


@pytest.mark.parametrize("role", ["Decoder", "Embedder", "Writer"])
def test_a_killed_actor_is_replaced_and_the_run_ends_complete(drivers, tars, out, role):
    command = embed(tars, out)
    driver = drivers.start(*command)
    driver.until(lambda: committed(out))
    driver.kill(f"ray::{role}")
    summary = driver.finish()
    assert summary["actors_replaced"] >= 1
    assert (summary["stats"]["embedded"], summary["stats"]["quarantined"]) == (ROWS, {})
    assert_complete_and_done(drivers, command, out)


def test_an_image_that_kills_its_decoder_is_quarantined_alone(alone, drivers, tmp_path, out):
    from deadly.sitecustomize import MARK

    rows = 300
    photos = write_folder(tmp_path / "photos", rows)
    with (photos / "00123.jpg").open("ab") as file:
        file.write(MARK)
    armed = {"PYTHONPATH": f"{Path(__file__).parent / 'deadly'}{os.pathsep}{os.environ['PYTHONPATH']}"}
    command = embed(str(photos), out, "--shard-rows", "256")
    summary = alone.run(*command, env=armed)
    assert summary["stats"]["quarantined"] == {"crashed_worker": 1}
    assert summary["stats"]["embedded"] == rows - 1
    assert alone.run(*command, env=armed)["rows_planned"] == 0
    assert_adds_up(drivers, str(out), rows, quarantined=1)
    assert rows_visible(out) == rows - 1
    cured = drivers.run("retry", str(out), "--reason", "crashed_worker")
    assert (cured["rows_planned"], cured["stats"]["embedded"]) == (1, 1)
    assert rows_visible(out) == rows
    assert_adds_up(drivers, str(out), rows)


def test_two_drivers_on_one_output_commit_every_shard_once(drivers, tars, out):
    command = embed(tars, out)
    both = [drivers.start(*command) for _ in range(2)]
    summaries = [driver.finish() for driver in both]
    assert sum(summary["stats"]["embedded"] for summary in summaries) == ROWS
    for summary in summaries:
        done = summary["rows_already_done"] + summary["rows_elsewhere"] + summary["stats"]["embedded"]
        assert (done, summary["rows_left"]) == (ROWS, 0)
    assert_complete_and_done(drivers, command, out)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("state", ["planning", "starting", "running"])
def test_a_stopped_run_says_so_by_its_exit_code_and_the_next_one_goes_on(
    alone, drivers, tars, out, state, number, code
):
    command = embed(tars, out)
    first = alone.start(*command)
    first.until(lambda: first.reached(state))
    if number == signal.SIGINT:
        os.killpg(first.process.pid, number)  # as a terminal does
    else:
        os.kill(first.process.pid, number)
    first.wait()
    assert (first.process.returncode, "Traceback" in first.stderr()) == (code, False)
    done = rows_visible(out)
    if state != "running":
        return
    assert first.events[-1]["state"] == "stopped"
    assert first.events[-1]["rows_left"] == ROWS - done
    second = drivers.run(*command)
    assert (second["rows_already_done"], second["stats"]["embedded"]) == (done, ROWS - done)
    assert rows_visible(out) == ROWS
    assert_adds_up(drivers, str(out), ROWS)
