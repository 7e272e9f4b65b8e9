"""The backfill engine, with toy jobs that take milliseconds."""

from __future__ import annotations

import json
import re
import shlex
import threading
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from flows.backfill.engine import Backfill
from flows.backfill.grid import Grid
from flows.backfill.observer import Observer
from flows.backfill.request import BackfillRequest
from flows.cli import main
from flows.cli.app import app
from flows.commands.backfill_display import GridLines
from flows.jobs.contract import APP, JobSpec, JobState, JobStatus
from flows.jobs.errors import UnreachableError
from flows.jobs.target import TargetConfig
from pipeline.config import RunConfig, parse
from pipeline.jobs.job import JobRun
from pipeline.partitions.manifests import PartitionState, read_states, write_state
from pipeline.partitions.template import partitions
from tests.fixtures.places import ROOT
from tests.fixtures.processes import patience, until
from tests.fixtures.toy_jobs import ToyJobs

TARGET = TargetConfig(backend="ray", address="http://127.0.0.1:1", poll_s=0.02, max_attempts=3)
DAYS = [f"2026-11-{day:02d}" for day in range(1, 15)]


class GridRecorder(Observer):
    """Records every grid, in order."""

    def __init__(self) -> None:
        self.grids: list[Grid] = []

    def grid(self, grid: Grid) -> None:
        self.grids.append(grid)


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    for day in DAYS:
        (tmp_path / f"dt={day}").mkdir()
        (tmp_path / f"dt={day}" / "0.tar").write_bytes(b"")
    return parse({"source": {"uris": [f"{tmp_path}/dt={{date}}/*.tar"]}, "output": {"uri": f"{tmp_path}/out"}})


def a_backfill(config: RunConfig, jobs: ToyJobs, target: TargetConfig = TARGET, **request: Any) -> Backfill:
    if not {"partitions", "latest"} & set(request):
        request = {"start": DAYS[0], "end": DAYS[-1], **request}
    return Backfill(BackfillRequest(**request), config, target, jobs, GridRecorder())


def statuses(grid: Grid) -> list[str]:
    return [row.status for row in grid.rows]


def test_only_missing_partitions_are_run(config: RunConfig) -> None:
    jobs = ToyJobs({DAYS[4]: "fail", DAYS[8]: "empty"})
    first = a_backfill(config, jobs, limit=3, group=2).run()
    assert statuses(first) == ["done"] * 3 + ["later"] * 11
    assert (first.exit_code, len(jobs.jobs)) == (0, 2)

    dry = a_backfill(config, jobs, dry_run=True).run()
    assert [(row.status, row.why) for row in dry.rows] == [("done", "")] * 3 + [("waiting", "never run")] * 11
    assert len(jobs.jobs) == 2

    second = a_backfill(config, jobs, group=3, max_active=2).run()
    assert statuses(second) == ["done"] * 4 + ["failed"] + ["done"] * 3 + ["empty"] + ["done"] * 5
    assert (second.exit_code, second.of(DAYS[4]).message, second.left) == (1, "a flaw", 0)
    assert len(jobs.jobs) == 2 + 4
    assert jobs.max_concurrent() == 2

    del jobs.behaviour[DAYS[4]]
    third = a_backfill(config, jobs).run()
    assert statuses(third) == ["done"] * 8 + ["empty"] + ["done"] * 5
    assert (third.exit_code, third.of(DAYS[4]).why) == (0, "failed")
    assert set(jobs.ran.values()) == {1, 2}
    assert [key for key, times in jobs.ran.items() if times == 2] == [DAYS[4]]
    assert len(a_backfill(config, jobs).run().rows) == 14
    assert jobs.ran.total() == 15


def test_a_backfill_that_finds_nothing_fails_until_something_was_found(config: RunConfig) -> None:
    jobs = ToyJobs(dict.fromkeys(DAYS, "empty"))
    for _ in range(2):  # the second time nothing is due
        grid = a_backfill(config, jobs).run()
        assert (set(statuses(grid)), grid.exit_code) == ({"empty"}, 1)
        assert "Nothing was ever found at" in grid.failure
        assert "no files for 2026-11-14 and 13 more partitions" in grid.to_json()["failure"]
    assert a_backfill(config, jobs, dry_run=True).run().exit_code == 0

    jobs.behaviour[DAYS[0]] = "done"
    assert a_backfill(config, jobs, reprocess="all").run().exit_code == 0
    later = a_backfill(config, jobs, start=DAYS[3]).run()
    assert (set(statuses(later)), later.exit_code) == ({"empty"}, 0)


def test_jobs_follow_the_order_and_groups_and_update_the_grid(config: RunConfig) -> None:
    jobs = ToyJobs()
    backfill = a_backfill(config, jobs, order="newest", group=5, max_active=1)
    backfill.run()
    assert [status.metadata["keys"].split(",")[0] for status in jobs.jobs.values()] == [DAYS[13], DAYS[8], DAYS[3]]
    assert jobs.max_concurrent() == 1
    seen = [statuses(grid) for grid in backfill.observer.grids]  # type: ignore[attr-defined]
    assert seen[0] == ["waiting"] * 14
    assert any("running" in row for row in seen)
    assert max(row.count("running") + row.count("queued") for row in seen) <= 5


@pytest.mark.parametrize("max_active", [1, 3, 5])
def test_max_active_limits_the_concurrent_jobs(config: RunConfig, max_active: int) -> None:
    jobs = ToyJobs()
    a_backfill(config, jobs, group=1, max_active=max_active).run()
    assert jobs.max_concurrent() == max_active
    assert len(jobs.jobs) == 14


def test_jobs_in_this_process_run_one_at_a_time_with_a_note(config: RunConfig) -> None:
    jobs = ToyJobs()
    grid = a_backfill(config, jobs, TargetConfig(poll_s=0.02), group=7, max_active=2).run()
    assert jobs.max_concurrent() == 1
    assert grid.notes == ("Jobs in this process run one at a time: max_active has no effect here.",)


def test_a_new_attempt_continues_after_a_driver_died(config: RunConfig) -> None:
    jobs = ToyJobs({DAYS[2]: "die", DAYS[9]: "dies"})
    grid = a_backfill(config, jobs, group=7).run()
    assert statuses(grid) == ["done"] * 9 + ["failed"] * 5
    assert "No attempt is left: Killed." in grid.of(DAYS[9]).message
    assert jobs.ran[DAYS[0]] == 1, "done before the death, and not again"
    assert jobs.ran[DAYS[9]] == 3


def test_a_manifest_of_another_job_does_not_hide_the_outcome(config: RunConfig) -> None:
    jobs = ToyJobs({DAYS[2]: "raced"})
    grid = a_backfill(config, jobs, limit=4).run()
    assert (statuses(grid)[:4], grid.exit_code, len(jobs.jobs)) == (["done"] * 4, 0, 1)


def test_a_stop_stops_the_jobs_and_starts_no_others(config: RunConfig) -> None:
    jobs = ToyJobs({DAYS[1]: "slow", DAYS[4]: "slow"})
    backfill = a_backfill(config, jobs, group=3, max_active=2)
    backfill.should_stop = lambda: jobs.ran[DAYS[4]] > 0 and jobs.ran[DAYS[1]] > 0
    grid = backfill.run()
    assert statuses(grid) == ["done", "stopped", "stopped"] + ["done", "stopped", "stopped"] + ["stopped"] * 8
    assert (grid.exit_code, len(jobs.jobs)) == (143, 2)
    assert {status.state for status in jobs.jobs.values()} == {JobState.STOPPED}
    jobs.behaviour.clear()
    assert statuses(a_backfill(config, jobs).run()) == ["done"] * 14
    assert jobs.ran[DAYS[0]] == 1


def test_fail_fast_stops_the_other_jobs(config: RunConfig) -> None:
    jobs = ToyJobs({DAYS[3]: "fail", DAYS[1]: "slow"})
    grid = a_backfill(config, jobs, group=3, max_active=2, fail_fast=True).run()
    assert (grid.exit_code, len(jobs.jobs)) == (1, 2)
    assert grid.of(DAYS[3]).status == "failed"
    assert grid.of(DAYS[1]).status == "stopped"


def test_a_job_stopped_externally_ends_the_backfill(config: RunConfig) -> None:
    jobs = ToyJobs({DAYS[0]: "slow"})

    def cancel() -> None:
        until(lambda: jobs.ran[DAYS[0]], "the first day", every_s=0.01)
        jobs.stop(next(iter(jobs.jobs)))

    threading.Thread(target=cancel).start()
    grid = a_backfill(config, jobs, group=2, max_active=1).run()
    assert (statuses(grid), grid.exit_code, len(jobs.jobs)) == (["stopped"] * 14, 143, 1)


def test_running_jobs_are_waited_for_and_not_submitted_again(config: RunConfig) -> None:
    jobs = ToyJobs()

    class Crash(Observer):
        def job(self, status: object) -> None:
            if len(jobs.jobs) == 2:
                raise MemoryError("the flow's process dies")

    backfill = a_backfill(config, jobs, group=7, max_active=2)
    backfill.observer = Crash()
    with pytest.raises(MemoryError):
        backfill.run()
    left_running = [status.job_id for status in jobs.jobs.values() if not status.state.over]
    assert left_running
    again = a_backfill(config, jobs, group=3, max_active=4)
    grid = again.run()
    assert statuses(grid) == ["done"] * 14, grid.rows
    assert set(jobs.ran.values()) == {1}
    assert {row.job for row in grid.rows} >= set(left_running)


def test_a_stop_does_not_stop_jobs_of_other_backfills(config: RunConfig) -> None:
    jobs = ToyJobs({DAYS[0]: "slow"})
    out = config.output.uri
    keys = {"keys": ",".join(DAYS[:2]), "app": APP, "backfill_id": "somebody-else", "out": out}
    runs = tuple(JobRun(part.key, part.config) for part in partitions(config, DAYS[:2]))
    jobs.submit("theirs-a1", JobSpec("theirs", out, runs, keys))
    backfill = a_backfill(config, jobs, partitions=tuple(DAYS[:4]))
    done = time.monotonic() + 1.0
    backfill.should_stop = lambda: time.monotonic() > done
    ended: list[Grid] = []
    runner = threading.Thread(target=lambda: ended.append(backfill.run()))
    runner.start()
    runner.join(2.0)
    assert jobs.jobs["theirs-a1"].state is JobState.RUNNING
    jobs.stop("theirs-a1")
    runner.join(patience(10.0))
    assert statuses(ended[0]) == ["stopped"] * 2 + ["done"] * 2


def start_foreign_job(jobs: ToyJobs, config: RunConfig, made_from: RunConfig) -> None:
    """Submit a two-day job of another backfill: its first day is done, and its second would take a minute."""
    keys = {"keys": ",".join(DAYS[:2]), "app": APP, "backfill_id": "somebody-else", "out": config.output.uri}
    runs = tuple(JobRun(part.key, part.config) for part in partitions(made_from, DAYS[:2]))
    jobs.submit("theirs-a1", JobSpec("theirs", config.output.uri, runs, keys))
    until(lambda: jobs.ran[DAYS[1]], "the second day", every_s=0.01)
    jobs.behaviour.clear()


def test_partitions_of_a_stopped_foreign_job_are_run(config: RunConfig) -> None:
    jobs = ToyJobs({DAYS[1]: "slow"})
    start_foreign_job(jobs, config, config)
    threading.Timer(0.5, jobs.stop, ("theirs-a1",)).start()
    grid = a_backfill(config, jobs, partitions=tuple(DAYS[:4])).run()
    assert (statuses(grid), grid.exit_code) == (["done"] * 4, 0)
    assert jobs.ran[DAYS[0]] == 1, "done by the foreign job"


def test_a_foreign_job_with_other_options_is_not_waited_for(config: RunConfig) -> None:
    jobs = ToyJobs({DAYS[1]: "slow"})
    other = parse({**config.model_dump(mode="json"), "image": {"max_pixels": 5}})
    start_foreign_job(jobs, config, other)
    grid = a_backfill(config, jobs, partitions=tuple(DAYS[:2])).run()
    assert statuses(grid) == ["done"] * 2
    assert grid.of(DAYS[1]).job != "theirs-a1"
    assert jobs.jobs["theirs-a1"].state is JobState.RUNNING
    jobs.stop("theirs-a1")


def test_only_jobs_of_a_flow_run_have_its_id(config: RunConfig) -> None:
    jobs = ToyJobs()
    a_backfill(config, jobs, limit=1).run()
    backfill = a_backfill(config, jobs, limit=1)
    backfill.flow_run_id = "0690a4de-77c1-7bd6-8000-5c1c4b0ff0c1"
    backfill.run()
    ids = [status.metadata.get("flow_run_id") for status in jobs.jobs.values()]
    assert ids == [None, backfill.flow_run_id]


class UnreachableJobs(ToyJobs):
    """Once a job runs, its status cannot be read."""

    def status(self, job_id: str) -> JobStatus | None:
        found = super().status(job_id)
        if found and self.ran:
            raise UnreachableError("No answer. Check the address.")
        return found


def test_no_job_is_started_while_another_cannot_be_reached(config: RunConfig) -> None:
    jobs = UnreachableJobs({DAYS[0]: "slow"})
    grid = a_backfill(config, jobs, TARGET.model_copy(update={"lost_after_s": 0.1}), group=2, max_active=1).run()
    assert (statuses(grid), len(jobs.jobs)) == (["failed"] * 2 + ["stopped"] * 12, 1)
    assert grid.of(DAYS[0]).message == "No answer. Check the address."


def test_a_job_that_times_out_fails_and_the_others_continue(config: RunConfig) -> None:
    jobs = ToyJobs({DAYS[0]: "slow"})
    target = TARGET.model_copy(update={"timeout_s": 1.0, "stop_wait_s": 0})
    grid = a_backfill(config, jobs, target, group=2, max_active=1, partitions=tuple(DAYS[:4])).run()
    assert (statuses(grid), grid.exit_code, len(jobs.jobs)) == (["failed"] * 2 + ["done"] * 2, 1, 2)
    assert "Raise timeout_s" in grid.of(DAYS[0]).message


def test_reprocess_selects_stale_failed_or_all_partitions(config: RunConfig, tmp_path: Path) -> None:
    jobs = ToyJobs()
    a_backfill(config, jobs).run()
    (tmp_path / f"dt={DAYS[5]}" / "1.tar").write_bytes(b"more")
    other = parse({**config.model_dump(mode="json"), "image": {"max_pixels": 5}})
    assert a_backfill(config, jobs, dry_run=True).run().tally() == {"done": 14}
    stale = a_backfill(config, jobs, dry_run=True, reprocess="stale").run()
    assert [(row.key, row.why) for row in stale.rows if row.why] == [(DAYS[5], "source changed")]
    assert {row.why for row in a_backfill(other, jobs, dry_run=True, reprocess="stale").run().rows} == {
        "options changed"
    }
    assert a_backfill(config, jobs, reprocess="all").run().tally() == {"done": 14}
    assert set(jobs.ran.values()) == {2}
    write_state(config.output.uri, PartitionState(DAYS[0], "failed"))
    assert a_backfill(config, jobs, dry_run=True, reprocess="failed").run().tally() == {"waiting": 1, "done": 13}
    assert len(read_states(config.output.uri)) == 14


def commands(text: str) -> list[list[str]]:
    """The `hanclip backfill` commands in a text, each as a list of words."""
    return [shlex.split(line.partition("#")[0]) for line in re.findall(r"hanclip (backfill .+?)(?:`|\n|$)", text)]


def test_commands_in_the_docs_and_the_help_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "backfill.md").read_text(encoding="utf-8")
    shown = typer.main.get_command(app).commands["backfill"].epilog  # type: ignore[attr-defined]
    written = commands(page) + commands(str(shown))
    assert len(written) > 8
    for words in written:
        local = [word.removeprefix("s3://") for word in words]
        with pytest.raises(SystemExit) as ended:
            main([*local, "--dry-run", "--json"])
        assert ended.value.code == 0, words
        [line] = capfd.readouterr().out.splitlines()
        grid = json.loads(line)
        assert grid["tally"] == {"waiting": len(grid["partitions"])}
        assert grid["partitions"], words
    assert list(tmp_path.iterdir()) == [], "a dry run leaves nothing"


def test_the_manifest_is_documented() -> None:
    text = (ROOT / "docs" / "data-format.md").read_text(encoding="utf-8")
    table = text.partition("<!-- keys: partition -->")[2].strip().partition("\n\n")[0].splitlines()[2:]
    assert [line.split("|")[1].strip() for line in table] == list(PartitionState("a", "done").to_json())


def test_the_partitions_command_prints_a_table(config: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    a_backfill(config, ToyJobs({DAYS[1]: "fail", DAYS[3]: "fail", DAYS[2]: "empty"}), limit=4).run()
    with pytest.raises(SystemExit):
        main(["partitions", config.output.uri])
    table = capsys.readouterr().out
    assert [line.split()[:2] for line in table.splitlines()[1:5]] == [
        [DAYS[0], "done"],
        [DAYS[1], "failed"],
        [DAYS[2], "empty"],
        [DAYS[3], "failed"],
    ]
    assert "4 partitions: 1 done, 2 failed, 1 empty" in table
    assert f"{DAYS[1]} and 1 more: a flaw" in table


def test_a_line_is_printed_for_each_finished_partition(config: RunConfig) -> None:
    console = Console(file=StringIO(), width=60)
    backfill = a_backfill(config, ToyJobs({DAYS[1]: "fail"}), limit=3)
    with GridLines(console) as backfill.observer:
        backfill.run()
    lines = [line.split(" ", 1)[1] for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert [line for line in lines if not line.startswith("job")] == [
        f"{DAYS[0]} done, 10 records in 0.0 s (2 left)",
        f"{DAYS[1]} failed, 0 records in 0.0 s: a flaw (1 left)",
        f"{DAYS[2]} done, 10 records in 0.0 s (0 left)",
    ]
