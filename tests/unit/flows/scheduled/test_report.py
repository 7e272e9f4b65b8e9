"""Reports of flow runs, the commands that they suggest, and the runs of a nightly flow."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise

import pytest
from typer.testing import CliRunner

from flows.backfill.request import BackfillRequest
from flows.cli.app import app
from flows.facts.flow_run import FlowOutcome, FlowRunSummary
from flows.facts.job import job_ended
from flows.jobs.contract import JobState, JobStatus
from flows.jobs.target import TargetConfig
from flows.options.backfill import BACKFILL
from flows.options.shell import backfill_command, embed_command
from flows.scheduled.pages.report import report
from pipeline.config import RunConfig, parse
from pipeline.errors import ConfigError
from pipeline.jobs.job import JobSummary, RunOutcome
from pipeline.jobs.night import check, nightly_runs
from pipeline.jobs.progress import Bottleneck, Summary
from pipeline.stats import Stats
from tests.fixtures.places import ROOT

CONFIG = parse(
    {
        "source": {"uris": ["s3://shop/dt={date}/*.tar", "s3://shop/old photos/"], "extra_columns": ["price", "名称"]},
        "model": {"name": "demo"},
        "output": {"uri": "s3://vectors/shop", "max_quarantine": 0.2},
        "cluster": {"address": "auto", "decoders": 3},
    }
)


def a_summary(**changes: object) -> Summary:
    summary = Summary(
        run_id="r",
        state="complete",
        output="s3://vectors/shop",
        run_date="2026-11-21",
        model="demo",
        rows_planned=60,
        rows_already_done=940,
        rows_elsewhere=0,
        rows_left=0,
        stats=Stats(embedded=57, quarantined=Counter(truncated=2, timeout=1), bytes_read=10**6, bytes_written=10**5),
        seconds=12.0,
        actors_replaced=0,
        bottleneck=Bottleneck("decode", {"decode": 0.97}, "Add cores."),
        exit_code=0,
    )
    return replace(summary, **changes)


def a_job(*runs: RunOutcome, state: str = "complete", exit_code: int = 0, message: str = "") -> JobSummary:
    return JobSummary("nightly-1-a1", state, exit_code, message, runs)


def complete(key: str, summary: Summary) -> RunOutcome:
    return RunOutcome(key, "complete", "", summary)


def ended(job: JobSummary) -> FlowRunSummary:
    url = "http://ray:8265/#/jobs/nightly-1-a1"
    base = FlowRunSummary("nightly", FlowOutcome.RUNNING, job_id=job.job_id, job_url=url)
    return job_ended(base, job, JobStatus(job.job_id, JobState.FAILED), TargetConfig())


def test_the_report_sums_over_the_runs_and_suggests_the_next_steps():
    job = a_job(
        complete("2026-11-20", a_summary()),
        RunOutcome("2026-11-21", "empty"),
        RunOutcome("2026-11-22", "failed", "s3://shop/a|b.tar is damaged. Mend it."),
        state="failed",
        exit_code=1,
    )
    runs = nightly_runs(parse(one_source(CONFIG)), date(2026, 11, 22), 2)
    text = report("nightly 2026-11-22 -> shop", ended(job), job, runs, TargetConfig())
    assert text.startswith("# nightly 2026-11-22 -> shop: failed")
    assert "| rows in | 1,000 = 57 embedded + 3 quarantined + 940 already done |" in text
    assert "| truncated | 2 | fix the source |" in text
    assert "hanclip retry s3://vectors/shop --reason timeout" in text
    assert "| 2026-11-21 | empty |" in text
    assert "a\\|b.tar" in text
    assert "[nightly-1-a1](http://ray:8265/#/jobs/nightly-1-a1)" in text
    assert "decode (busy: decode 97 %). Add cores." in text
    (command,) = [line for line in text.splitlines() if line.startswith("hanclip embed")]
    assert "dt=2026-11-22" in command
    assert "*Retry*" in text
    for finished in (replace(job, job_id="nightly-1-a3"), a_job(complete("", a_summary()), exit_code=3)):
        assert "*Retry*" not in report("nightly", ended(finished), finished, runs, TargetConfig())


def test_the_command_uses_the_same_target():
    for target in (
        TargetConfig(backend="kuberay", namespace="jobs", rayjob_template="infra/rayjob.yaml"),
        TargetConfig(backend="ray", address="http://ray:8265"),
    ):
        words = shlex.split(embed_command(CONFIG, target))
        assert words[:2] == ["hanclip", "submit"]
        given = {flag: value for flag, value in pairwise(words) if flag.startswith("--")}
        assert given["--backend"] == target.backend
        assert given.get("--rayjob-template") == target.rayjob_template
        assert given.get("--jobs-address") == target.address


def test_the_command_reproduces_the_configuration():
    command = embed_command(CONFIG)
    printed = CliRunner().invoke(app, [*shlex.split(command)[1:], "--print-config"])
    assert printed.exit_code == 0, printed.output
    here = CONFIG.model_copy(update={"cluster": CONFIG.cluster.model_copy(update={"address": None})})
    assert printed.output == here.to_yaml()


def one_source(config: RunConfig) -> dict[str, object]:
    tree = config.model_dump(mode="json")
    tree["source"]["uris"] = tree["source"]["uris"][:1]
    return tree


def test_a_dated_source_gives_one_run_per_day_and_others_one_run():
    dated = parse(one_source(CONFIG))
    runs = nightly_runs(dated, date(2026, 3, 1), 2)
    assert [run.key for run in runs] == ["2026-02-27", "2026-02-28", "2026-03-01"]
    assert [run.config.source.uris for run in runs] == [(f"s3://shop/dt={run.key}/*.tar",) for run in runs]
    assert [run.config.output.run_date for run in runs] == [date.fromisoformat(run.key) for run in runs]
    whole = parse({"source": {"uris": ["s3://shop/all/"]}, "output": {"uri": "s3://vectors/shop"}})
    (run,) = nightly_runs(whole, date(2026, 3, 1), 2)
    assert (run.key, run.config.output.run_date) == ("", date(2026, 3, 1))


def test_the_backfill_command_reproduces_the_request():
    request = BackfillRequest(partitions=("a", "b"), limit=3, group=2, fail_fast=True, order="newest")
    words = shlex.split(backfill_command(CONFIG, request, TargetConfig(backend="ray", address="http://ray:8265")))
    given = {flag: words[at + 1] for at, flag in enumerate(words) if flag.startswith("--")}
    assert given["--jobs-address"] == "http://ray:8265"
    parsed = BACKFILL.parsed(
        {
            "partition": [words[at + 1] for at, word in enumerate(words) if word == "--partition"],
            "max_partitions": int(given["--max-partitions"]),
            "group": int(given["--group"]),
            "order": given["--order"],
            "fail_fast": "--fail-fast" in words,
        }
    )
    assert parsed == request


def test_the_logical_date_is_the_scheduled_date_in_the_time_zone(monkeypatch):
    from prefect.runtime import flow_run

    from flows.scheduled.pages.naming import logical_date, place, run_name

    scheduled = datetime(2026, 11, 20, 20, 30, tzinfo=UTC)
    monkeypatch.setitem(flow_run.FIELDS, "scheduled_start_time", lambda: scheduled)
    assert logical_date("UTC") == date(2026, 11, 20)
    assert logical_date("Asia/Shanghai") == date(2026, 11, 21)
    monkeypatch.setitem(flow_run.FIELDS, "flow_name", lambda: "nightly")
    assert run_name() == "nightly 2026-11-20 20:30"
    assert place("s3://b/shop/dt=2026-11-20/*.tar", "more/") == "shop/dt=2026-11-20 and 1 more"


def test_no_flow_module_shadows_another_module():
    """Loading `flows/scheduled/x.py` by its path puts that folder first on `sys.path`."""
    import sys
    from importlib.metadata import packages_distributions

    folder = ROOT / "flows" / "scheduled"
    names = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert names & ({*sys.stdlib_module_names, "pipeline", "actors", "flows"} | set(packages_distributions())) == set()


@pytest.mark.parametrize(
    "tree",
    [
        {"output": {"uri": "/out"}},
        {"source": {"uris": ["/a/"]}},
        {"source": {"uris": ["/a/", "photos/"]}, "output": {"uri": "/out"}},
        {"source": {"uris": ["s3://bucket/photos"]}, "output": {"uri": "~/out"}},
        {"source": {"uris": ["s3://b/photos"], "inventory": "manifest.json"}, "output": {"uri": "/out"}},
        CONFIG.model_dump(mode="json"),
    ],
)
def test_an_invalid_configuration_is_refused_before_anything_starts(tree):
    with pytest.raises(ConfigError):
        nightly_runs(check(parse(tree)), date(2026, 3, 1), 2)
