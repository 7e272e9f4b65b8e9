"""Test the outcome of a run through the driver on a real Ray."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from PIL import Image

from actors import driver
from actors.dry_run import dry_run
from pipeline.config import ClusterConfig
from pipeline.dataset.checks.verify import verify
from pipeline.dataset.dataset import Dataset
from pipeline.jobs.progress import Progress, Summary
from pipeline.vocabulary import RESERVED_COLUMNS
from tests.fixtures.driving import rows_visible
from tests.fixtures.runs import config


@dataclass(frozen=True)
class FirstRun:
    """`folder`/in and `folder`/out, the progress of the run from one to the other, and its summary."""

    folder: Path
    progress: list[Progress]
    summary: Summary


@pytest.fixture(scope="module")
def first(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    """A run over ten images and two non-image files."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "in").mkdir()
    for shade in range(10):
        Image.new("RGB", (40, 30), (shade * 20, 80, 120)).save(folder / "in" / f"{shade}.png")
    for name in ("x.jpg", "y.jpg"):
        (folder / "in" / name).write_text("no image")
    progress: list[Progress] = []
    return FirstRun(folder, progress, driver.run(config(folder), progress.append))


def test_too_much_quarantine_fails_every_run(first: FirstRun) -> None:
    summary = first.summary
    assert (summary.exit_code, summary.state, summary.stats.embedded) == (3, "complete", 10)
    assert summary.quarantine_share == pytest.approx(2 / 12)
    again = driver.run(config(first.folder))
    assert (again.exit_code, again.rows_planned, again.rows_already_done) == (3, 0, 12)
    assert driver.run(config(first.folder, max_quarantine=0.2)).exit_code == 0


def test_progress_starts_with_planning_and_ends_complete_with_every_row(first: FirstRun) -> None:
    states = [progress.state for progress in first.progress]
    assert states[0] == "planning"
    assert states[-1] == "complete"
    assert first.progress[-1].stats.records == first.summary.rows_planned == 12
    assert first.summary.bottleneck is not None
    assert set(first.summary.bottleneck.busy) == {"read", "decode", "embed", "write"}


def test_a_folder_of_images_has_no_text_columns(first: FirstRun) -> None:
    images = {name for name in RESERVED_COLUMNS if name.startswith("image_")}
    found = duckdb.sql(f"SELECT * FROM '{first.folder}/out/embeddings/**/*.parquet'")
    assert set(found.columns) == {"id", "source_fingerprint", "run_date"} | images
    assert first.summary.stats.texts_encoded == 0
    assert rows_visible(first.folder / "out") == 10
    report = verify(str(first.folder / "out"))
    assert (report.ok, report.complete, report.planned, report.embedded, report.quarantined) == (True, True, 12, 10, 2)


def test_a_dry_run_returns_the_plan_and_writes_nothing(first: FirstRun, tmp_path: Path) -> None:
    out = tmp_path / "out"
    many = ClusterConfig(decoders=5, embedders=4)
    plan = dry_run(config(first.folder, uri=str(out)).model_copy(update={"cluster": many}))
    assert (plan.rows_in, plan.rows, plan.rows_already_done, plan.shards) == (12, 12, 0, 1)
    assert (plan.decoders, plan.embedders) == (1, 1)  # as a run starts for one chunk
    assert plan.estimate_s is not None
    assert not out.exists()


def test_a_retry_covers_only_the_given_reasons_and_counts_the_attempt(first: FirstRun, tmp_path: Path) -> None:
    out = str(shutil.copytree(first.folder / "out", tmp_path / "out"))
    [none] = driver.retry(out, ("timeout",), [config(first.folder, uri=out)])
    assert none.rows_planned == 0
    [some] = driver.retry(out, ("not_an_image",), [config(first.folder, uri=out)])
    assert (some.rows_planned, dict(some.stats.quarantined)) == (2, {"not_an_image": 2})
    rows = Dataset.open(out).quarantine().to_table()
    assert sorted(rows["attempts"].to_pylist()) == [1, 1, 2, 2]
