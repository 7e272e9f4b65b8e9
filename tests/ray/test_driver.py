"""Test the outcome of a run through the driver on a real Ray."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from actors import driver
from actors.dry_run import dry_run
from pipeline.dataset.dataset import Dataset
from pipeline.jobs.progress import Progress
from tests.fixtures.runs import config

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of ten images and two non-image files."""
    (tmp_path / "in").mkdir()
    for shade in range(10):
        Image.new("RGB", (40, 30), (shade * 20, 80, 120)).save(tmp_path / "in" / f"{shade}.png")
    for name in ("x.jpg", "y.jpg"):
        (tmp_path / "in" / name).write_text("no image")
    return tmp_path


def test_too_much_quarantine_fails_every_run(folder: Path) -> None:
    first = driver.run(config(folder))
    assert (first.exit_code, first.state, first.stats.embedded) == (3, "complete", 10)
    assert first.quarantine_share == pytest.approx(2 / 12)
    again = driver.run(config(folder))
    assert (again.exit_code, again.rows_planned, again.rows_already_done) == (3, 0, 12)
    assert driver.run(config(folder, max_quarantine=0.2)).exit_code == 0


def test_progress_starts_with_planning_and_ends_complete_with_every_row(folder: Path) -> None:
    seen: list[Progress] = []
    summary = driver.run(config(folder), seen.append)
    states = [progress.state for progress in seen]
    assert states[0] == "planning"
    assert states[-1] == "complete"
    assert seen[-1].stats.records == summary.rows_planned == 12
    assert summary.bottleneck is not None
    assert set(summary.bottleneck.busy) == {"read", "decode", "embed", "write"}


def test_a_dry_run_returns_the_plan_and_writes_nothing(folder: Path) -> None:
    plan = dry_run(config(folder))
    assert (plan.rows_in, plan.rows, plan.rows_already_done, plan.shards) == (12, 12, 0, 1)
    assert plan.estimate_s is not None
    assert not (folder / "out").exists()


def test_a_retry_covers_only_the_given_reasons_and_counts_the_attempt(folder: Path) -> None:
    driver.run(config(folder))
    none = driver.retry(str(folder / "out"), ("timeout",), config(folder))
    assert none.rows_planned == 0
    some = driver.retry(str(folder / "out"), ("not_an_image",), config(folder))
    assert (some.rows_planned, dict(some.stats.quarantined)) == (2, {"not_an_image": 2})
    rows = Dataset.open(str(folder / "out")).quarantine().to_table()
    assert sorted(rows["attempts"].to_pylist()) == [1, 1, 2, 2]
