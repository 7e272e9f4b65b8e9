"""Jobs of several runs: the outcome of each run, the embedders they share, and stopping a job."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actors import driver
from pipeline.config import RunConfig, parse
from pipeline.dataset.dataset import Dataset
from pipeline.jobs import folder as job_folder
from pipeline.jobs.job import Job, JobProgress, JobRun, JobSummary
from pipeline.partitions.manifests import read_states
from pipeline.partitions.template import input_digest, spec_digest
from tests.fixtures.pictures import write_folder
from tests.fixtures.processes import DEADLINE_S, patience, until
from tests.fixtures.servers.ray_head import RayHead


def config(out: Path, source: Path, **cluster: object) -> RunConfig:
    return parse(
        {
            "source": {"uris": [str(source)]},
            "model": {"name": "demo"},
            "output": {"uri": str(out)},
            "cluster": {"embedders": 1, "decoders": 1, **cluster},
        }
    )


def write(out: Path, job_id: str, sources: Mapping[str, Path], **cluster: object) -> str:
    runs = tuple(JobRun(key, config(out, source, **cluster)) for key, source in sources.items())
    return job_folder.write_job(str(out), job_id, Job(runs))


def states(summary: JobSummary) -> dict[str, str]:
    return {run.key: run.state for run in summary.runs}


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four days: pictures, none, a broken tar, pictures. Ids of the days differ by the folder of the pictures."""
    place = tmp_path_factory.mktemp("days")
    write_folder(place / "1" / "a", 10)
    (place / "2").mkdir()
    (place / "3").mkdir()
    (place / "3" / "0.tar").write_bytes(b"not a tar")
    write_folder(place / "4" / "b", 12)
    return {f"2026-11-0{day}": place / str(day) for day in (1, 2, 3, 4)}


class Lines(logging.Handler):
    """Context manager that collects the driver's log."""

    def __enter__(self) -> list[str]:
        self.lines: list[str] = []
        self.level_before = logging.getLogger("actors").level
        logging.getLogger("actors").setLevel(logging.INFO)
        logging.getLogger("actors").addHandler(self)
        return self.lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __exit__(self, *_: object) -> None:
        logging.getLogger("actors").removeHandler(self)
        logging.getLogger("actors").setLevel(self.level_before)


@dataclass
class Night:
    """A finished job over the four days, and over the last one again with another model."""

    out: Path
    other: Path
    summary: JobSummary
    seen: list[JobProgress]
    lines: list[str]


@pytest.fixture(scope="module")
def night(local_ray: None, days: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Night:
    out, other, seen = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("other"), list[JobProgress]()
    last = config(other, days["2026-11-04"])
    last = last.model_copy(update={"model": last.model.model_copy(update={"dtype": "fp32"})})
    runs = (*(JobRun(day, config(out, source)) for day, source in days.items()), JobRun("", last))
    with Lines() as lines:
        summary = driver.run_job(job_folder.write_job(str(out), "night-a1", Job(runs)), seen.append)
    return Night(out, other, summary, seen, lines)


@pytest.mark.usefixtures("local_ray")
class TestInOneProcess:
    def test_each_run_has_its_outcome_and_all_rows_are_there(self, days: dict[str, Path], night: Night) -> None:
        assert list(states(night.summary).values()) == ["complete", "empty", "failed", "complete", "complete"]
        assert (night.summary.state, night.summary.exit_code) == ("failed", 1)
        assert str(days["2026-11-03"]) in night.summary.message
        assert [run.summary.stats.embedded for run in night.summary.runs if run.summary] == [10, 12, 12]
        assert Dataset.open(str(night.out)).embeddings(["id"]).count_rows() == 22
        assert Dataset.open(str(night.other)).embeddings(["id"]).count_rows() == 12
        assert job_folder.read_summary(str(night.out), "night-a1") == night.summary
        assert {progress.run for progress in night.seen} == {0, 1, 2, 3, 4}
        assert job_folder.read_progress(str(night.out), "night-a1") == night.seen[-1]
        assert night.seen[-1].state == "failed"

    def test_each_model_is_loaded_once_and_the_log_names_the_job(self, night: Night) -> None:
        """Runs with the same model section share embedders; another section gets its own."""
        log = "\n".join(night.lines)
        same_model, _, other_model = log.partition("(run 5 of 5)")
        assert same_model.count("Starting 1 embedder") == other_model.count("Starting 1 embedder") == 1
        assert log.count("Starting 1 decoder") == 3
        assert "2026-11-01 (run 1 of 5): 10 records to do in 1 shard, source " in log
        assert ": 10 = 10 embedded + 0 quarantined" in log
        assert "Job night-a1: failed. Runs: 3 complete, 1 empty, 1 failed. 2026-11-03: " in night.lines[-1]

    def test_the_manifests_have_the_state_of_each_partition(self, days: dict[str, Path], night: Night) -> None:
        held = read_states(str(night.out))
        statuses = ["done", "empty", "failed", "done"]
        assert {key: held[key].status for key in held} == dict(zip(days, statuses, strict=True))
        last, made_from = held["2026-11-04"], config(night.out, days["2026-11-04"])
        assert (last.rows, last.embedded, last.quarantined, last.job_id) == (12, 12, 0, "night-a1")
        assert last.spec == spec_digest(made_from)
        assert last.input == input_digest(made_from) != ""

    def test_runs_with_nothing_to_do_start_no_actor(self, days: dict[str, Path], night: Night) -> None:
        good = {key: days[key] for key in ("2026-11-01", "2026-11-04")}
        with Lines() as lines:
            again = driver.run_job(write(night.out, "night-a2", good))
        assert (again.state, again.exit_code) == ("complete", 0)
        assert [run.summary.rows_already_done for run in again.runs if run.summary] == [10, 12]
        assert not [line for line in lines if line.startswith("Starting")]

    def test_a_stop_request_from_a_thread_stops_like_a_signal(
        self, days: dict[str, Path], night: Night, tmp_path: Path
    ) -> None:
        """Over a copy of the dataset without its manifests, so that the first run needs no actors."""
        out = tmp_path / "out"
        shutil.copytree(night.out, out, ignore=shutil.ignore_patterns("_partitions", "_jobs"))
        uri, stop, summaries = write(out, "a1", days), threading.Event(), []

        def stop_at_second(progress: JobProgress) -> None:
            if progress.run == 1:
                stop.set()

        thread = threading.Thread(target=lambda: summaries.append(driver.run_job(uri, stop_at_second, stop)))
        thread.start()
        thread.join(patience(DEADLINE_S))
        (summary,) = summaries
        assert list(states(summary).values()) == ["complete", "empty", "skipped", "skipped"]
        assert (summary.state, summary.exit_code) == ("stopped", 143)
        assert list(read_states(str(out))) == ["2026-11-01", "2026-11-02"]

    def test_a_store_that_fails_for_reports_loses_only_the_reports(self, tmp_path: Path) -> None:
        """The exit code still reports too much quarantine, and the run is complete."""
        write_folder(tmp_path / "in", 2)
        (tmp_path / "in" / "x.jpg").write_text("no image")
        uri = write(tmp_path / "out", "a1", {"2026-11-01": tmp_path / "in"})
        (tmp_path / "out" / "_partitions").write_text("a file in place of a folder")
        for name in ("progress.json", "summary.json"):
            (Path(uri).parent / name / "obstacle").mkdir(parents=True)
        summary = driver.run_job(uri)
        assert (summary.state, summary.exit_code, states(summary)) == ("complete", 3, {"2026-11-01": "complete"})
        assert "33.3%" in summary.runs[0].message

    def test_runs_on_different_clusters_are_refused(self, days: dict[str, Path], tmp_path: Path) -> None:
        runs = tuple(JobRun("", config(tmp_path, days["2026-11-01"], address=one)) for one in ("a:1", "b:1"))
        summary = driver.run_job(job_folder.write_job(str(tmp_path), "a1", Job(runs)))
        assert (summary.state, summary.exit_code) == ("failed", 1)
        assert "share one Ray" in summary.message


def submit(head: RayHead, uri: str, job_id: str) -> None:
    body = {
        # The shell outlives the signal, which Ray sends to both.
        "entrypoint": f"trap : TERM; {sys.executable} -m actors.driver {uri}; echo exit code $?",
        "submission_id": job_id,
        # By default Ray sends SIGKILL three seconds after SIGTERM.
        "runtime_env": {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}},
    }
    head.request("POST", "/api/jobs/", body)


def ended(head: RayHead, job_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        status: dict[str, Any] = head.request("GET", f"/api/jobs/{job_id}")
        return status if status["status"] in {"SUCCEEDED", "FAILED", "STOPPED"} else None

    status: dict[str, Any] = until(look, f"the end of {job_id}")
    return status


def test_a_stopped_ray_job_writes_its_summary_and_skips_the_rest(ray_head: RayHead, tmp_path: Path) -> None:
    """The driver gets SIGTERM after its first run."""
    for day in (1, 2, 3):
        write_folder(tmp_path / str(day) / "x", 600 if day == 2 else 4)
    out = tmp_path / "out"
    uri = write(out, "stopped-a1", {f"2026-11-0{day}": tmp_path / str(day) for day in (1, 2, 3)}, grace_s=0)
    submit(ray_head, uri, "stopped-a1")
    first_is_done = (out / "_partitions" / "2026-11-01.json").exists
    until(
        lambda: first_is_done() or job_folder.read_summary(str(out), "stopped-a1"),
        "the end of the first run",
        every_s=0.02,
    )
    ray_head.request("POST", "/api/jobs/stopped-a1/stop", {})
    assert ended(ray_head, "stopped-a1")["status"] == "STOPPED"
    assert "exit code 143" in ray_head.request("GET", "/api/jobs/stopped-a1/logs")["logs"]
    summary = job_folder.read_summary(str(out), "stopped-a1")
    assert summary is not None
    assert list(states(summary).values()) == ["complete", "stopped", "skipped"], summary
    assert (summary.state, summary.exit_code) == ("stopped", 143)
    progress = job_folder.read_progress(str(out), "stopped-a1")
    assert progress is not None
    assert progress.state == "stopped"
