"""Steps of a job: dedup and filter after the runs or over a finished dataset; repeated, failing, and stopped."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from actors import driver
from actors.jobs import reports as job_reports
from flows.facts.progress import describe, fraction
from flows.jobs.attach import ensure, watch
from flows.jobs.backends import make_backend
from flows.jobs.contract import JobSpec, JobState
from flows.jobs.driver import write
from flows.jobs.target import TargetConfig
from pipeline.config import OutputConfig, RunConfig, parse
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.filter.settings import FilterSettings, NamedRule
from pipeline.dataset.checks.verify import verify
from pipeline.jobs.folder import job_uri, read_job, read_progress, read_summary
from pipeline.jobs.job import JobProgress, JobRun, JobSummary, StepProgress
from pipeline.jobs.steps import DedupStep, FilterStep, Step
from pipeline.vocabulary import Keep, Rung
from tests.fixtures.pictures import write_folder
from tests.fixtures.processes import until
from tests.fixtures.servers.ray_head import RayHead

PICTURES, COPIES = 50, 10
BY_BYTES = DedupSettings(rungs=(Rung.BYTES,), keep=Keep.FIRST)
LARGE = NamedRule(name="large", sql="image_width >= 1")
ODD = NamedRule(name="odd", sql="id LIKE '%1.%' OR id LIKE '%3.%' OR id LIKE '%copy%'")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty pictures, and copies of the first ten."""
    folder = write_folder(tmp_path_factory.mktemp("steps") / "photos", PICTURES)
    for path in sorted(folder.iterdir())[:COPIES]:
        shutil.copy(path, path.with_name(f"{path.stem}-copy{path.suffix}"))
    return folder


def job(out: Path, job_id: str, source: Path | None, *steps: Step) -> str:
    tree = {
        "source": {"uris": [str(source)]},
        "model": {"name": "demo"},
        "output": {"uri": str(out)},
        "cluster": {"embedders": 1, "decoders": 1},
    }
    runs = (JobRun("", parse(tree)),) if source else ()
    return write(job_id, JobSpec(job_id, str(out), runs, steps=steps))


def tables(out: Path) -> dict[str, list[dict[str, Any]]]:
    paths = ("dedup/dedup.parquet", "filter/default/kept.parquet", "filter/default/dropped.parquet")
    return {path: pq.read_table(out / path).sort_by("id").to_pylist() for path in paths}


@pytest.fixture(scope="module")
def night(local_ray: None, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, JobSummary, list]:
    out, seen = tmp_path_factory.mktemp("out"), list[JobProgress]()
    rules = FilterSettings(rules=(LARGE, ODD), where="keep")
    uri = job(out, "night-a1", photos, DedupStep(out=str(out)), FilterStep(out=str(out), settings=rules))
    return out, driver.run_job(uri, seen.append), seen


def test_a_night_embeds_finds_the_copies_and_filters(night: tuple[Path, JobSummary, list[JobProgress]]) -> None:
    out, summary, seen = night
    assert (summary.state, summary.exit_code) == ("complete", 0), summary.message
    assert summary.message == "Runs: 1 complete. Steps: dedup complete, filter complete"
    found, kept = (step.found for step in summary.steps)
    assert found is not None
    assert kept is not None
    rows = {row["id"]: row for row in tables(out)["dedup/dedup.parquet"]}
    pairs = [(name, name.replace("-copy", "")) for name in rows if "copy" in name]
    assert len(rows) == found["rows"] == PICTURES + COPIES
    assert all(rows[one]["group"] == rows[other]["group"] is not None for one, other in pairs)
    assert (found["kept"], found["groups"]) == (sum(row["keep"] for row in rows.values()), COPIES) == (PICTURES, COPIES)
    keeps = {name for name, row in rows.items() if row["keep"] and ("1." in name or "3." in name or "copy" in name)}
    assert {row["id"] for row in tables(out)["filter/default/kept.parquet"]} == keeps
    assert (kept["rows"], kept["kept"]) == (PICTURES + COPIES, len(keeps))
    assert [rule["name"] for rule in kept["rules"]] == ["large", "odd", "where"]
    assert kept["rules"][0]["dropped"] == 0
    assert sum(rule["first"] for rule in kept["rules"]) == kept["dropped"]
    assert read_summary(str(out), "night-a1") == summary
    assert {one.step.kind for one in seen if one.step} == {"dedup", "filter"}
    shares = [fraction(one) for one in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert any(describe(one).startswith("dedup: Reading rows") for one in seen)


def test_a_repeated_job_has_the_same_result(night: tuple[Path, JobSummary, list], photos: Path) -> None:
    out, first, _ = night
    before = tables(out)
    given = read_job(job_uri(str(out), "night-a1"))
    assert given.format == 2
    again = driver.run_job(job(out, "night-a2", photos, *given.steps))
    assert again.state == "complete"
    assert [step.found for step in again.steps if step.kind == "filter"] == [
        step.found for step in first.steps if step.kind == "filter"
    ]
    assert again.steps[0].found
    assert again.steps[0].found["new_vectors"] == 0
    assert tables(out) == before


def test_a_wrong_rule_fails_the_job_by_name_and_changes_no_table(night: tuple[Path, JobSummary, list]) -> None:
    out, *_ = night
    before = tables(out)
    wrong = FilterSettings(rules=(NamedRule(name="sharp", sql="sharpness > 3"),))
    steps = (FilterStep(out=str(out), settings=wrong), DedupStep(out=str(out), settings=BY_BYTES))
    summary = driver.run_job(job(out, "wrong-a1", None, *steps))
    assert (summary.state, summary.exit_code) == ("failed", 1)
    assert [step.state for step in summary.steps] == ["failed", "skipped"]
    assert "The rule sharp is wrong: there is no column sharpness" in summary.message
    assert tables(out) == before
    report = verify(str(out))
    assert report.ok, report


@pytest.mark.usefixtures("local_ray")
def test_steps_need_a_run_that_was_completed(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    uri = job(tmp_path / "out", "a1", tmp_path / "photos", DedupStep(out=str(tmp_path / "out")))
    summary = driver.run_job(uri)
    assert [run.state for run in summary.runs] == ["empty"]
    assert (summary.state, summary.exit_code, summary.steps[0].state) == ("failed", 1, "skipped")
    assert "Nothing to embed was found" in summary.message
    assert "No run completed" in summary.steps[0].message


def test_a_stopped_step_is_done_by_the_next_attempt(night: tuple[Path, JobSummary, list], tmp_path: Path) -> None:
    out, stop = tmp_path / "out", threading.Event()
    shutil.copytree(night[0], out)
    step, rule = (
        DedupStep(out=str(out), settings=BY_BYTES),
        FilterStep(out=str(out), settings=FilterSettings(where="keep")),
    )

    def stop_while_reading(progress: JobProgress) -> None:
        if progress.step:
            stop.set()

    summary = driver.run_job(job(out, "d-a1", None, step, rule), stop_while_reading, stop)
    assert (summary.state, summary.exit_code) == ("stopped", 143)
    assert [one.state for one in summary.steps] == ["stopped", "skipped"]
    again = driver.run_job(job(out, "d-a2", None, step, rule))
    assert again.steps[0].found
    assert (again.state, again.steps[0].found["groups"], again.steps[0].found["kept"]) == ("complete", COPIES, PICTURES)
    assert again.steps[1].found
    assert again.steps[1].found["kept"] == PICTURES


def test_a_step_without_news_for_long_still_writes_progress(tmp_path: Path, monkeypatch) -> None:
    """Sorting millions of rows reports nothing; the progress file of a live driver must change nevertheless."""
    monkeypatch.setattr(job_reports, "_FILE_EVERY_S", 0.05)
    uri = job(tmp_path, "silent-a1", None, DedupStep(out=str(tmp_path)), DedupStep(out=str(tmp_path)))
    reports = job_reports.Reports(uri, read_job(uri), None)
    for number in range(2):
        reports.of_step(number, "dedup", None)("Grouping", 3, 7)
        first = until(lambda n=number: (now := silent(tmp_path)) and now.number == n and now, "progress of the step")
        later = until(lambda now=first: silent(tmp_path) != now and silent(tmp_path), "the next progress")
        assert later.seconds > first.seconds
        assert later == replace(first, seconds=later.seconds)
    reports.end(JobSummary("silent-a1", "complete", 0))
    assert read_progress(str(tmp_path), "silent-a1").state == "complete"


def silent(out: Path) -> StepProgress | None:
    progress = read_progress(str(out), "silent-a1")
    return progress and progress.step


def reading(config: RunConfig, uri: str) -> RunConfig:
    """The same configuration with this source."""
    return config.model_copy(update={"source": config.source.model_copy(update={"uris": (uri,)})})


def test_a_submitted_job_does_its_runs_and_steps_on_the_cluster(
    ray_head: RayHead, night: tuple[Path, JobSummary, list], photos: Path, tmp_path: Path, monkeypatch
) -> None:
    for name, value in ray_head.client_env.items():
        monkeypatch.setenv(name, value)
    target = TargetConfig(backend="ray", address=ray_head.dashboard, python=sys.executable, poll_s=1)
    given, out = read_job(job_uri(str(night[0]), "night-a1")), str(tmp_path)
    steps = tuple(step.model_copy(update={"out": out}) for step in given.steps)
    config = given.runs[0].config.model_copy(update={"output": OutputConfig(uri=out)})
    parts = {"copies": "*-copy.jpg", "none": "*.none", "originals": "?????.jpg"}
    runs = tuple(JobRun(key, reading(config, f"{photos}/{pattern}")) for key, pattern in parts.items())
    backend, spec, lines = make_backend(target), JobSpec("cluster", out, runs, steps=steps), list[str]()
    ended = watch(backend, ensure(backend, spec, target).job_id, out, target, lines.append)
    summary = read_summary(out, ended.job_id)
    assert (ended.state, ended.job_id) == (JobState.SUCCEEDED, "cluster-a1"), ended.message
    assert summary is not None
    assert [run.state for run in summary.runs] == ["complete", "empty", "complete"]
    assert summary.message == "Runs: 2 complete, 1 empty. Steps: dedup complete, filter complete"
    assert "".join(lines).count("Starting 1 embedder") == 1
    # The driver has joined the cluster that it runs on.
    (listed,) = [one for one in ray_head.request("GET", "/api/jobs/") if one["submission_id"] == ended.job_id]
    assert listed["driver_info"]["id"] == listed["job_id"] != "", listed
    there, here = (
        {name: [{**row, "source_fingerprint": ""} for row in rows] for name, rows in tables(one).items()}
        for one in (tmp_path, night[0])
    )
    assert there == here
    assert ensure(backend, spec, target).job_id == ended.job_id


def test_a_job_without_steps_keeps_the_first_format(tmp_path: Path, photos: Path) -> None:
    plain = json.loads(Path(job(tmp_path, "a1", photos)).read_bytes())
    assert (plain["format"], plain["steps"]) == (1, [])
    Path(job_uri(str(tmp_path), "a1")).write_text(json.dumps({key: plain[key] for key in ("format", "runs")}))
    assert read_job(job_uri(str(tmp_path), "a1")).steps == ()
