"""Ctrl-C and SIGTERM at every moment: one line on stderr, the documented exit code, and nothing is left behind.

Real commands in process groups of their own. The moment is what the process itself does: the import of a package, the
opening or removal of a file, a progress line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.exiting import stop_message
from pipeline.dataset.dataset import Dataset
from tests.fixtures.datasets import an_identity, commit, some_records
from tests.fixtures.driving import HANCLIP, Driver, Drivers
from tests.fixtures.pictures import write_folder
from tests.fixtures.places import SIGNALLED
from tests.fixtures.processes import patience, session

INT, TERM = signal.SIGINT, signal.SIGTERM
STOPPED = {number: f"{stop_message(number)}\n" for number in (INT, TERM)}
EMBED = "embed photos new --model demo --quiet"
DEDUP = "dedup out --rung bytes"
VERIFY = "verify out --json"
EXPORT = "export out npy --to npy"
BACKFILL = "backfill days/{date}/ new --model demo --start 2026-01-01 --end 2026-01-02 --quiet"
#: What the command does when the signal arrives.
START, PARSE, IMPORT, IMPORT_RAY = (("import", name) for name in ("typer", "pydantic", "pyarrow", "ray"))
RESOLVE, LIST = ("open", "model/config.json"), ("os.scandir", "photos")
SCRATCH, CLEAN_UP = ("tempfile.mkdtemp", "hanclip-"), ("shutil.rmtree", "hanclip-")
RAY = ("tempfile.mkdtemp", "hc-ray-")  # while the plan is made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few pictures, also as two days, and a small dataset."""
    place = tmp_path_factory.mktemp("data")
    write_folder(place / "photos", 8)
    for day in ("2026-01-01", "2026-01-02"):
        write_folder(place / "days" / day, 4)
    commit(Dataset.open_or_create(str(place / "out"), an_identity()), 1, some_records(50))
    return place


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A TMPDIR with a path that is short enough for Ray's sockets; it must be empty in the end."""
    with tempfile.TemporaryDirectory(prefix="hc-", dir="/tmp") as folder:
        yield Path(folder)
        assert list(Path(folder).iterdir()) == []


def stop(
    command: str, moments: list[tuple[str, str]], number: int, place: Path, temporary: Path
) -> tuple[int, str, str]:
    """Run `hanclip COMMAND`, which gets the signal at each of the moments; returns exit code, stdout and stderr."""
    plan = [(event, part, number) for event, part in moments]
    path = os.pathsep.join([str(SIGNALLED), os.environ["PYTHONPATH"]])
    process = subprocess.Popen(
        [HANCLIP, *command.split()],
        cwd=place,
        env={**os.environ, "PYTHONPATH": path, "SIGNALLED": json.dumps(plan), "TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    printed, errors = process.communicate(timeout=patience(60))
    assert session(process.pid) == {}
    return process.returncode, printed, errors


@pytest.mark.parametrize(
    ("command", "moments", "number"),
    [
        (EMBED, [START], INT),
        (EMBED, [PARSE], TERM),
        (EMBED, [IMPORT], INT),
        (EMBED, [IMPORT_RAY], TERM),
        (EMBED, [RESOLVE], INT),
        (EMBED, [SCRATCH], TERM),
        (EMBED, [LIST], INT),
        (EMBED, [LIST, CLEAN_UP], INT),
        (EMBED, [RAY], TERM),
        (DEDUP, [SCRATCH], INT),
        (EXPORT, [SCRATCH], TERM),
        (VERIFY, [SCRATCH], INT),
        (BACKFILL, [IMPORT_RAY], TERM),
        ("demo new", [IMPORT_RAY], INT),
    ],
)
def test_a_signal_ends_a_command_with_one_line_and_leaves_nothing(command, moments, number, data, temporary):
    code, printed, errors = stop(command, moments, number, data, temporary)
    assert (code, errors) == (128 + number, STOPPED[number])
    if "--json" in command:
        assert json.loads(printed) == {"event": "error", "message": STOPPED[number].strip(), "exit_code": 128 + number}
    else:
        assert printed == ""
    assert not (data / "new" / "embeddings").exists()


@pytest.fixture
def drivers(tmp_path: Path, temporary: Path) -> Iterator[Drivers]:
    """Runs that each start a Ray in the temporary folder."""
    torch = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "torch")}  # an empty folder in TMPDIR, created by its import
    with Drivers(tmp_path, {"TMPDIR": str(temporary), "RAY_TMPDIR": "", **torch}) as drivers:
        yield drivers


def interrupt(driver: Driver) -> None:
    """Ctrl-C, as a terminal sends it."""
    os.killpg(driver.process.pid, INT)


def test_a_second_ctrl_c_does_not_interrupt_the_summary_and_the_cleanup(data: Path, drivers: Drivers) -> None:
    driver = drivers.start("embed", str(data / "photos"), "out", "--model", "demo")
    driver.until(lambda: any(event.get("waiting_for") for event in list(driver.events)))
    interrupt(driver)
    driver.until(lambda: driver.reached("stopping") or driver.reached("stopped"))
    interrupt(driver)
    summary = driver.finish(128 + INT)
    assert (summary["event"], summary["state"], driver.stderr()) == ("summary", "stopped", STOPPED[INT])


def test_a_signal_at_the_end_waits_for_the_summary_of_what_is_committed(
    data: Path, drivers: Drivers, tmp_path: Path
) -> None:
    driver = drivers.start("embed", str(data / "photos"), "out", "--model", "demo")
    driver.until(lambda: list(tmp_path.glob("out/_runs/*/summary.json")))
    os.kill(driver.process.pid, TERM)
    assert (driver.finish()["state"], driver.stderr()) == ("complete", "")
