"""A job's folder: reads return what was written, writes are idempotent, and an id always means the same job."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import RunConfig, parse
from pipeline.errors import AlreadyExistsError, ConfigError, NotFoundError, StorageError
from pipeline.jobs import folder as job_folder
from pipeline.jobs.job import Job, JobProgress, JobRun, JobSummary, RunOutcome
from pipeline.jobs.progress import Bottleneck, Progress, StageProgress, Summary
from pipeline.stats import Skipped, Stats
from pipeline.vocabulary import Skip

STATS = Stats(embedded=3, quarantined=Counter(truncated=2), bytes_read=10**6)
PROGRESS = Progress(
    "r",
    "running",
    rows_planned=9,
    stats=STATS,
    stages=(StageProgress("read", 2, 0.5, 7.5, 1),),
    crew_changes=("2 decoders",),
    computing=("cpu, float32, hanclip 1.0",),
)
SUMMARY = Summary(
    run_id="r",
    state="complete",
    output="s3://bucket/out",
    run_date="2026-11-01",
    model="demo",
    rows_planned=5,
    rows_already_done=0,
    rows_elsewhere=0,
    rows_left=0,
    stats=STATS,
    seconds=2.5,
    actors_replaced=0,
    bottleneck=Bottleneck("read", {"read": 0.9}, "Add decoders."),
    exit_code=0,
    notes=("一",),
    examples={"truncated": "a"},
    skipped=(Skipped(Skip.LONE_TEXT, 2, "a.txt"), Skipped("of_a_newer_version", 1, "b")),
)


def config(day: str = "2026-11-01") -> RunConfig:
    return parse({"source": {"uris": [f"s3://bucket/dt={day}/"]}, "output": {"uri": "s3://bucket/out"}})


def test_a_job_is_read_back_and_writing_it_again_is_idempotent(tmp_path: Path) -> None:
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


def test_an_id_cannot_be_reused_for_another_job(tmp_path: Path) -> None:
    job_folder.write_job(str(tmp_path), "a1", Job((JobRun("", config()),)))
    with pytest.raises(AlreadyExistsError, match="another id"):
        job_folder.write_job(str(tmp_path), "a1", Job((JobRun("", config("2026-11-09")),)))
    with pytest.raises(ConfigError, match="not a valid job id"):
        job_folder.job_uri(str(tmp_path), "../a1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "runs: Field required"),
        ("no json", "Invalid JSON"),
        ('{"format": 3, "runs": []}', "format"),
        ('{"runs": []}', "at least 1 item"),
        ('{"runs": [{"key": "", "config": {"source": {"urls": []}}}]}', "runs.0.config.source.urls"),
    ],
)
def test_a_damaged_job_is_refused_with_its_path(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(ConfigError, match=expected) as raised:
        job_folder.read_job(str(tmp_path / "job.json"))
    assert str(tmp_path) in str(raised.value)


def test_a_missing_job_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        job_folder.read_job(str(tmp_path / "job.json"))


def test_progress_and_summary_are_optional_files_next_to_the_job(tmp_path: Path) -> None:
    out = str(tmp_path)
    uri = job_folder.job_uri(out, "a1")
    assert job_folder.read_progress(out, "a1") is None
    assert job_folder.read_summary(out, "a1") is None
    progress = JobProgress("a1", "running", 1, 3, PROGRESS)
    outcomes = (RunOutcome("2026-11-01", "complete", "", SUMMARY), RunOutcome("2026-11-02", "skipped"))
    summary = JobSummary("a1", "stopped", 143, "Stopped.", outcomes)
    job_folder.write_progress(uri, progress)
    job_folder.write_summary(uri, summary)
    assert job_folder.read_progress(out, "a1") == progress
    assert job_folder.read_summary(out, "a1") == summary
    assert json.loads(Path(uri).with_name("progress.json").read_bytes())["progress"] == PROGRESS.to_json()
    assert json.loads(Path(uri).with_name("summary.json").read_bytes())["runs"][0]["summary"] == SUMMARY.to_json()
    Path(uri).with_name("summary.json").write_text("{")
    with pytest.raises(StorageError, match="damaged"):
        job_folder.read_summary(out, "a1")


def test_progress_and_summary_survive_a_json_round_trip() -> None:
    assert Progress.from_json(json.loads(json.dumps(PROGRESS.to_json()))) == PROGRESS
    assert Summary.from_json(json.loads(json.dumps(SUMMARY.to_json()))) == SUMMARY
    no_bottleneck = replace(SUMMARY, bottleneck=None)
    assert Summary.from_json(no_bottleneck.to_json()) == no_bottleneck


def test_files_of_older_and_newer_versions_are_read(tmp_path: Path) -> None:
    """Older files lack keys that were added later; newer files have unknown keys or an unknown state."""
    added = ("rows_in_source", "rows_vanished", "quarantine_share", "notes", "startup_s", "examples", "skipped")
    older = {key: value for key, value in SUMMARY.to_json().items() if key not in added}
    older["stats"] = {"embedded": 3, "quarantined": {"truncated": 2}}
    unknown_state: dict[str, Any] = {**SUMMARY.to_json(), "state": "paused"}
    runs = [
        {"key": key, "state": "complete", "summary": summary, "of_a_newer_version": 1}
        for key, summary in {
            "older": older,
            "newer": {**SUMMARY.to_json(), "more": {}},
            "unknown_state": unknown_state,
        }.items()
    ]
    folder = tmp_path / "_jobs" / "a1"
    folder.mkdir(parents=True)
    job = {"job_id": "a1", "state": "complete", "exit_code": 0, "runs": runs, "of_a_newer_version": 1}
    (folder / "summary.json").write_text(json.dumps(job))
    summary = job_folder.read_summary(str(tmp_path), "a1")
    assert summary is not None
    stats = Stats(embedded=3, quarantined=Counter(truncated=2))
    old = replace(SUMMARY, stats=stats, notes=(), examples={}, skipped=())
    assert [run.summary for run in summary.runs] == [old, SUMMARY, None]
    progress = {"run_id": "r", "state": "running", "rows_planned": 9, "of_a_newer_version": 1}
    now = {"job_id": "a1", "state": "running", "run": 0, "runs": 1, "progress": progress}
    (folder / "progress.json").write_text(json.dumps(now))
    read = job_folder.read_progress(str(tmp_path), "a1")
    assert read is not None
    assert read.progress is not None
    assert (read.progress.rows_planned, read.progress.stats, read.step) == (9, Stats(), None)
