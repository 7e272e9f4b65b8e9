"""Outcomes of runs that start no actor: nothing left to embed, a damaged dataset, a missing folder."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from actors import driver
from actors.reporting.files import Background
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.errors import SourceError
from pipeline.jobs import folder as job_folder
from pipeline.jobs.job import Job, JobRun
from pipeline.model.checkpoints import resolve
from pipeline.partitions.manifests import read_states
from pipeline.plan.make import make_plan
from pipeline.plan.run_ids import new_run_id
from tests.fixtures.datasets import carry_out
from tests.fixtures.runs import config


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """A folder with three texts and their finished dataset, one text quarantined."""
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.txt").write_text(f"红色连衣裙 {number}")
    run_config = config(tmp_path)
    carry_out(make_plan(run_config, resolve(run_config.model), new_run_id(), 1), {"1.txt": "bad_text"})
    return tmp_path


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray cannot start here, and runs in no process: tests with a Ray may have left theirs in this one."""
    monkeypatch.setenv("RAY_TMPDIR", "/no/目录")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.mark.usefixtures("no_ray")
def test_a_run_without_work_does_not_start_ray(done: Path) -> None:
    assert driver.run(config(done)).state == "complete"


@pytest.mark.usefixtures("no_ray")
def test_a_run_whose_ray_cannot_start_fails_once_it_is_planned(tmp_path: Path) -> None:
    run_config = config(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.txt").write_text("红色连衣裙")
    summary = driver.run(run_config)
    assert (summary.state, summary.rows_planned, summary.exit_code) == ("failed", 1, 1)
    assert "Ray cannot use RAY_TMPDIR" in summary.message


@pytest.mark.usefixtures("no_ray")
def test_an_error_of_the_plan_precedes_one_of_rays_start(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"id": ["a", "a"], "text": ["红", "红"]}), tmp_path / "in" / "rows.parquet")
    with pytest.raises(SourceError, match="Ids must be unique"):
        driver.run(config(tmp_path))


def test_an_unknown_quarantine_share_adds_a_note_to_the_summary(done: Path) -> None:
    good = driver.run(config(done))
    assert (good.state, good.exit_code, good.rows_in_source, good.notes) == ("complete", 3, 3, ())
    [file] = Dataset.open(str(done / "out")).files()
    Path(file.uri).write_bytes(b"PAR1 damaged PAR1")
    (done / "out" / layout.HELD).unlink()  # else it is not read again
    summary = driver.run(config(done))
    assert (summary.state, summary.exit_code, summary.quarantine_share) == ("complete", 0, 0.0)
    assert "share of quarantined records is unknown" in summary.notes[0]
    assert Path(layout.run_uri(summary.output, summary.run_id), "summary.json").exists()


def test_a_missing_folder_makes_its_partition_empty(tmp_path: Path) -> None:
    one = config(tmp_path)
    two = one.model_copy(update={"source": one.source.model_copy(update={"uris": ("/no/a", "/no/b")})})
    job = Job((JobRun("2026-11-01", one), JobRun("", one), JobRun("2026-11-02", two)))
    summary = driver.run_job(job_folder.write_job(str(tmp_path / "out"), "a1", job))
    assert [run.state for run in summary.runs] == ["empty", "failed", "failed"]
    assert read_states(str(tmp_path / "out"))["2026-11-01"].status == "empty"


def test_a_bug_while_a_report_is_written_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    files = Background()
    files.write("s3://bucket/out/summary.json", lambda: "\ud800".encode() and None)
    files.close()
    assert "Cannot write s3://bucket/out/summary.json" in caplog.text
    assert "UnicodeEncodeError" in caplog.text
