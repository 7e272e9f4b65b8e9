"""A job's folder: what is written is read back, submitting twice is harmless, and nothing else takes the name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.config import RunConfig, parse
from pipeline.errors import AlreadyExistsError, ConfigError, NotFoundError, StorageError
from pipeline.jobs import folder as job_folder
from pipeline.jobs.folder import Job, JobProgress, JobRun, JobSummary, RunOutcome


def config(day: str = "2026-11-01") -> RunConfig:
    return parse({"source": {"uris": [f"s3://bucket/dt={day}/"]}, "output": {"uri": "s3://bucket/out"}})


def test_a_job_is_read_back_and_writing_it_again_changes_nothing(tmp_path: Path) -> None:
    job = Job((JobRun("2026-11-01", config()), JobRun("", config("2026-11-02"))))
    uri = job_folder.write_job(str(tmp_path), "backfill-1-a1", job)
    assert uri == job_folder.job_uri(str(tmp_path), "backfill-1-a1") == f"{tmp_path}/_jobs/backfill-1-a1/job.json"
    assert job_folder.job_id_of(uri) == "backfill-1-a1"
    before = Path(uri).stat()
    assert job_folder.write_job(str(tmp_path), "backfill-1-a1", job) == uri
    assert Path(uri).stat().st_mtime_ns == before.st_mtime_ns
    assert job_folder.read_job(uri) == job
    plain = json.loads(Path(uri).read_bytes())
    assert job_folder.is_job(plain)
    assert plain["format"] == 1
    assert plain["runs"][0]["config"] == config().model_dump(mode="json")


def test_an_id_stands_for_one_job(tmp_path: Path) -> None:
    job_folder.write_job(str(tmp_path), "a1", Job((JobRun("", config()),)))
    with pytest.raises(AlreadyExistsError, match="another id"):
        job_folder.write_job(str(tmp_path), "a1", Job((JobRun("", config("2026-11-09")),)))
    with pytest.raises(ConfigError, match="no job id"):
        job_folder.job_uri(str(tmp_path), "../a1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "runs: Field required"),
        ("no json", "Invalid JSON"),
        ('{"format": 3, "runs": []}', "format"),
        ('{"runs": []}', "at least 1 item"),
        ('{"runs": [{"key": "", "config": {"source": {"urls": []}}}]}', "runs.0.config.source.urls"),
    ],
)
def test_a_damaged_job_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(ConfigError, match=says) as raised:
        job_folder.read_job(str(tmp_path / "job.json"))
    assert str(tmp_path) in str(raised.value)


def test_a_missing_job_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        job_folder.read_job(str(tmp_path / "job.json"))


def test_progress_and_summary_lie_beside_the_job_and_may_be_missing(tmp_path: Path) -> None:
    out = str(tmp_path)
    uri = job_folder.job_uri(out, "a1")
    assert job_folder.read_progress(out, "a1") is None
    assert job_folder.read_summary(out, "a1") is None
    progress = JobProgress("a1", "running", 1, 3, {"rows_planned": 5})
    outcomes = (RunOutcome("2026-11-01", "complete", "", {"rows_planned": 5}), RunOutcome("2026-11-02", "skipped"))
    summary = JobSummary("a1", "stopped", 143, "Stopped.", outcomes)
    job_folder.write_progress(uri, progress)
    job_folder.write_summary(uri, summary)
    assert job_folder.read_progress(out, "a1") == progress
    assert job_folder.read_summary(out, "a1") == summary
    Path(uri).with_name("summary.json").write_text("{")
    with pytest.raises(StorageError, match="damaged"):
        job_folder.read_summary(out, "a1")
