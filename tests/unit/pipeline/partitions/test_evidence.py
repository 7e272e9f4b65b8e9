"""Partitions without files: normal when the template led to files before, else a wrong address."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from actors import driver
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.jobs.folder import write_job
from pipeline.jobs.job import JobRun, JobSummary, job_of
from pipeline.jobs.night import nightly_runs
from pipeline.model.checkpoints import resolve
from pipeline.partitions.manifests import PartitionState, newest_states, write_state
from pipeline.partitions.template import partitions, spec_digest
from pipeline.plan.make import make_plan
from pipeline.plan.run_ids import new_run_id
from pipeline.sources.places.nearby import describe
from tests.fixtures.datasets import FakeModel
from tests.fixtures.runs import config

NIGHT = date(2026, 11, 28)
LONG_AGO = "2026-01-01"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of daily folders, of which none of the last week has come."""
    (tmp_path / "days" / f"dt={LONG_AGO}").mkdir(parents=True)
    return tmp_path


def template(place: Path, *addresses: str) -> RunConfig:
    made = config(place)
    uris = tuple(f"{place}/{address}" for address in addresses)
    return made.model_copy(update={"source": made.source.model_copy(update={"uris": uris})})


def night(place: Path, *addresses: str, number: int = 1) -> JobSummary:
    """A night of this template, as the flow submits it. No run has work, so that no actor is started."""
    runs = nightly_runs(template(place, *addresses), NIGHT, 2)
    return driver.run_job(write_job(str(place / "out"), f"night-a{number}", job_of(runs, needs_evidence=True)))


def found(place: Path, address: str, key: str = LONG_AGO, rows: int = 3) -> None:
    """The manifest of a partition that had files."""
    [partition] = partitions(template(place, address), [key])
    write_state(str(place / "out"), PartitionState(key, "done", spec_digest(partition.config), rows=rows))


@pytest.mark.parametrize(
    ("address", "states", "words"),
    [
        ("days/dt={date}/", "empty", ("Nothing was ever found", "2026-11-28 and 2 more", "which holds dt=2026-01-01")),
        ("days/dX={date}/*.tar", "empty", ("Nothing was ever found", "days/dX=2026-11-28/*.tar")),
        ("dayz/dt={date}/", "failed", ("dayz, does not exist", "Did you mean", "/days?")),
        ("dayz/{date:%Y/%m/%d}/*.tar", "failed", ("dayz, does not exist", "Did you mean", "/days?")),
    ],
)
def test_a_template_that_never_led_to_files_fails_the_night(place, address, states, words):
    for number in (1, 2):  # the manifests of the first night are no evidence for the second
        summary = night(place, address, number=number)
        assert {run.state for run in summary.runs} == {states}
        assert (summary.state, summary.exit_code) == ("failed", 1)
        for word in words:
            assert word in summary.message, summary.message


@pytest.mark.parametrize("address", ["days/dt={date}/", "days/dt={date}/*.tar", "days/{date:%Y/%m/%d}/"])
def test_a_quiet_week_is_fine_after_files_were_found(place, address):
    found(place, address)
    summary = night(place, address)
    assert ([run.state for run in summary.runs], summary.exit_code) == (["empty"] * 3, 0)


def test_a_plan_is_evidence_when_the_manifest_could_not_be_written(place):
    earlier = place / "days" / f"dt={LONG_AGO}"
    (earlier / "a.txt").write_text("红裙")
    [partition] = partitions(template(place, "days/dt={date}/"), [LONG_AGO])
    make_plan(partition.config, resolve(partition.config.model), new_run_id(), 1)
    assert night(place, "days/dt={date}/").exit_code == 0
    assert night(place, "days/dX={date}/", number=2).exit_code == 1


def test_files_of_another_template_are_no_evidence(place):
    found(place, "days/other={date}/")
    assert night(place, "days/dt={date}/").exit_code == 1


def test_a_partition_that_was_planned_and_held_nothing_is_no_evidence(place):
    found(place, "days/dt={date}/", rows=0)
    write_state(str(place / "out"), PartitionState("shop-1", "done", "", rows=0))
    assert night(place, "days/dt={date}/").exit_code == 0  # done is done, however few
    write_state(str(place / "out"), PartitionState(LONG_AGO, "empty"))
    assert night(place, "days/dt={date}/", number=2).exit_code == 1


def test_the_folder_of_all_days_that_disappears_fails_whatever_was_found_before(place):
    found(place, "days/dt={date}/")
    shutil.rmtree(place / "days")
    summary = night(place, "days/dt={date}/")
    assert {run.state for run in summary.runs} == {"failed"}
    assert f"The folder of all partitions, {place}/days, does not exist" in summary.message


def test_a_run_without_a_partition_fails_when_it_finds_nothing(place):
    (place / "in").mkdir()
    (place / "in" / "notes.pdf").touch()
    summary = driver.run_job(write_job(str(place / "out"), "submit-a1", job_of((JobRun("", config(place)),))))
    assert (summary.state, summary.exit_code) == ("failed", 1)
    assert "exists and holds 1 .pdf" in summary.message


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("photoz", "which holds days, photos. Did you mean {place}/photos?"),
        ("photoz/*.tar", "Looked for {place}/photoz/*.tar; the nearest folder that exists is {place}, which holds"),
        (
            "photos/{{000..003}}.tar",
            "the nearest folder that exists is {place}/photos, which holds notes.docx, notes.pdf",
        ),
        ("photos", "{place}/photos exists and holds 1 .docx, 1 .pdf."),
        ("photos/**/*.parquet", "which holds notes.docx, notes.pdf."),
    ],
)
def test_a_source_without_records_is_described(place, address, words):
    (place / "photos").mkdir()
    for name in ("notes.pdf", "notes.docx", ".hidden"):
        (place / "photos" / name).touch()
    with pytest.raises(UsageError) as raised:
        make_plan(template(place, address.format()), FakeModel(), new_run_id(), 1)
    assert words.format(place=place) in str(raised.value)
    assert raised.value.exit_code == 2


def test_an_empty_bucket_is_not_looked_for_on_this_machine() -> None:
    assert describe("memory://empty-bucket") == ""


def test_manifests_are_read_the_newest_first(tmp_path):
    keys = [f"2026-{month:02d}-{day:02d}" for month in (1, 2) for day in range(1, 21)]
    for key in keys:
        write_state(str(tmp_path), PartitionState(key, "done"))
    assert [state.key for state in newest_states(str(tmp_path))] == keys[::-1]
