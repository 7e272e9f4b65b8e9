"""The summary of a flow run for every way in which a run ends: its state's message, its page, and the two agree."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from prefect.states import AwaitingRetry, Running, Scheduled

from flows.backfill.grid import Grid, GridRow
from flows.facts.backfill import backfill_ended
from flows.facts.flow_run import FlowOutcome, FlowRunSummary
from flows.facts.job import job_ended, job_vanished
from flows.facts.progress import describe, fraction
from flows.jobs.contract import JobState, JobStatus
from flows.jobs.target import TargetConfig
from flows.scheduled.pages.summary import render, restarts
from pipeline.jobs.job import JobProgress, JobSummary, RunOutcome, StepOutcome
from pipeline.jobs.progress import Progress, Summary
from pipeline.stats import Stats

TARGET = TargetConfig(max_attempts=2)
BASE = FlowRunSummary("nightly", FlowOutcome.RUNNING, source="s3://shop/", out="s3://out", job_id="nightly-1-a1")


def a_summary(embedded: int = 6, already: int = 4, left: int = 0, vanished: int = 0, **quarantined: int) -> Summary:
    return Summary(
        run_id="r",
        state="stopped" if left else "complete",
        output="s3://out",
        run_date="",
        model="demo",
        rows_planned=embedded + left + sum(quarantined.values()),
        rows_already_done=already,
        rows_elsewhere=0,
        rows_left=left,
        stats=Stats(embedded=embedded, quarantined=Counter(quarantined)),
        seconds=1.0,
        actors_replaced=0,
        bottleneck=None,
        exit_code=0,
        rows_vanished=vanished,
        quarantine_share=0.4 if quarantined else 0.0,
    )


def a_job(*runs: RunOutcome, code: int = 0, message: str = "", steps: tuple[StepOutcome, ...] = ()) -> JobSummary:
    state = "stopped" if code == 143 else "failed" if code not in (0, 3) else "complete"
    return JobSummary("nightly-1-a1", state, code, message, runs, steps)


def whole(**rows: int) -> RunOutcome:
    return RunOutcome("", "complete", "", a_summary(**rows))


def ended(job: JobSummary, **status: object) -> FlowRunSummary:
    return job_ended(BASE, job, JobStatus(job.job_id, JobState.FAILED, **status), TARGET)


EMPTY = RunOutcome("2026-11-21", "empty")
FAILED = RunOutcome("2026-11-22", "failed", "s3://a|b.tar is damaged. Mend it.")
SKIPPED = StepOutcome("dedup", "skipped", "No run completed, so there is no new data.")
JOBS = {
    "success": (
        ended(a_job(whole())),
        "complete: every row of the source has an outcome",
        "rows in 10 = 6 embedded + 0 quarantined + 4 already done",
        "Nothing.",
    ),
    "vanished rows": (
        ended(a_job(whole(embedded=0, vanished=4))),
        "complete: every row of the source has an outcome",
        "rows in 4 = 0 embedded + 0 quarantined + 4 already done; 4 ids that the catalog no longer holds",
        "Nothing.",
    ),
    "nothing to do": (
        ended(a_job(whole(embedded=0))),
        "complete: every row of the source has an outcome",
        "Nothing to do: rows in 4 = 0 embedded + 0 quarantined + 4 already done",
        "Nothing.",
    ),
    "no files": (
        ended(a_job(EMPTY)),
        "unchanged: no files were found",
        "Nothing to do: 1 of 1 dates without files",
        "Nothing.",
    ),
    "a few quarantined": (
        ended(a_job(whole(timeout=2))),
        "complete, except 2 records in quarantine that could not be embedded",
        "rows in 12 = 6 embedded + 2 quarantined + 4 already done",
        "may pass on a retry: `hanclip retry s3://out --reason timeout`",
    ),
    "too much in quarantine": (
        ended(a_job(whole(truncated=2), code=3)),
        "complete, except 2 records in quarantine that could not be embedded",
        "Too much in quarantine: rows in 12 = 6 embedded + 2 quarantined + 4 already done; 40 % of the dataset's",
        "`hanclip status s3://out`",
    ),
    "a date failed": (
        ended(a_job(whole(), EMPTY, FAILED, code=1)),
        "incomplete: nothing was done for 2026-11-22",
        "1 of 3 dates without files; 2026-11-22: s3://a|b.tar is damaged. Mend it",
        "click *Retry* on the flow run, or run the deployment again; finished work is not repeated. Or wait: the next",
    ),
    "nothing was ever found": (
        ended(a_job(EMPTY, code=1, message="Nothing was ever found.", steps=(SKIPPED,))),
        "incomplete: dedup did not complete",
        "1 of 1 dates without files; Nothing was ever found",
        "Remove the cause",
    ),
    "the store is down": (
        ended(a_job(code=1, message="The store is down. Wait.")),
        "unchanged: nothing was embedded",
        "The store is down. Wait",
        "Remove the cause",
    ),
    "stopped": (
        ended(a_job(RunOutcome("", "stopped", "", a_summary(left=3)), code=143, message="Stopped.")),
        "incomplete: 3 of 13 rows are left",
        "The job was stopped: rows in 13 = 6 embedded + 0 quarantined + 4 already done + 3 left; Stopped",
        "To continue from there, click *Retry*",
    ),
    "timed out": (
        ended(a_job(RunOutcome("", "stopped", "", a_summary(left=3)), code=143), message="It ran 9 s.", timed_out=True),
        "incomplete: 3 of 13 rows are left",
        "It ran 9 s",
        "Raise `target.timeout_s`",
    ),
    "a step failed": (
        ended(a_job(whole(), code=1, steps=(StepOutcome("filter", "failed", "The rule is wrong."),))),
        "incomplete: filter did not complete",
        "filter: The rule is wrong",
        "Remove the cause",
    ),
    "a job that never started": (
        job_vanished(BASE, JobStatus("nightly-1-a2", JobState.FAILED, "Still pending after 900 s."), TARGET),
        "unknown, because the job left no summary; committed rows stay: `hanclip status s3://out`",
        "Job nightly-1-a2 is FAILED and left no summary: Still pending after 900 s",
        "then run the deployment again",
    ),
}


@pytest.mark.parametrize(("summary", "data", "message", "next_step"), JOBS.values(), ids=JOBS)
def test_state_data_reason_and_next_step_of_a_job(summary, data, message, next_step):
    assert summary.data == data
    assert message in summary.message
    assert "\n" not in summary.message
    assert next_step in summary.next_step
    page = render(summary, ())
    assert page.startswith("# ")
    for text in (summary.outcome.capitalize(), "**Next:**", "| dataset | `s3://out` |", summary.rows):
        assert text in page


def test_outcomes_and_states_agree():
    outcomes = {name: summary.outcome for name, (summary, *_) in JOBS.items()}
    assert {name for name, outcome in outcomes.items() if outcome.succeeded} == {
        *("success", "vanished rows", "nothing to do", "no files", "a few quarantined")
    }
    assert {outcomes[name] for name in ("stopped", "timed out", "too much in quarantine")} == {
        *(FlowOutcome.STOPPED, FlowOutcome.TIMED_OUT, FlowOutcome.QUARANTINE)
    }


@pytest.mark.parametrize(
    ("rows", "failure", "outcome", "data"),
    [
        ([("done", None), ("empty", None)], "", FlowOutcome.NOTHING_TO_DO, "complete: every partition is done or emp"),
        ([("done", 0), ("empty", 0)], "", FlowOutcome.COMPLETE, "complete: every partition is done or empty; 0 rec"),
        ([("done", 0), ("later", None)], "", FlowOutcome.COMPLETE, "incomplete: partitions 1 later"),
        ([("done", 0), ("failed", 1)], "", FlowOutcome.FAILED, "incomplete: partitions 1 failed"),
        ([("done", 0), ("stopped", 143)], "", FlowOutcome.STOPPED, "incomplete: partitions 1 stopped"),
        ([("done", 3)], "", FlowOutcome.QUARANTINE, "complete"),
        ([("empty", 0)], "Nothing was ever found.", FlowOutcome.FAILED, "unchanged: no files were found"),
    ],
)
def test_state_and_data_of_a_backfill(rows, failure, outcome, data):
    grid = Grid(tuple(GridRow(str(at), status, exit_code=code) for at, (status, code) in enumerate(rows)), (), failure)
    summary = backfill_ended(replace(BASE, flow="backfill"), grid, False)
    assert (summary.outcome, summary.data.startswith(data)) == (outcome, True), summary.data
    assert failure.rstrip(".") in summary.message
    assert summary.next_step


def test_commands_quote_the_dataset():
    base = replace(BASE, out="/data/my vectors")
    gone = job_vanished(base, JobStatus("x-a1", JobState.FAILED), TARGET)
    full = job_ended(base, a_job(whole(timeout=2), code=3), JobStatus("x-a1", JobState.SUCCEEDED), TARGET)
    assert "`hanclip status '/data/my vectors'`" in gone.data
    assert "`hanclip retry '/data/my vectors' --reason timeout`" in full.next_step


def test_addresses_at_the_beginning_of_a_sentence_stay_as_they_are():
    page = render(replace(BASE, reason="s3://shop/a.tar is damaged", data="complete, except 2 records"), ())
    assert "**Why:** s3://shop/a.tar is damaged.\n" in page
    assert "**Data:** Complete, except 2 records.\n" in page


def test_restarts_are_read_from_the_states():
    states = [Scheduled(), Running(), AwaitingRetry(message="Revival 1 of 3: Process exited with status code: -9")]
    assert [line.partition(" UTC: ")[2] for line in restarts(states)] == [states[2].message]


def test_a_page_names_restarts_and_links():
    running = replace(
        *(BASE,),
        progress="50 %: run 1 of 1",
        job_url="http://ray/#/jobs/1",
        job_log="hanclip jobs logs x",
        report_url="/artifacts/artifact/1",
    )
    page = render(running, ("2026-11-29 02:13 UTC: Process exited with status code -9",))
    for line in (
        "# Running",
        "| progress | 50 %: run 1 of 1 |",
        "**Started again:** 2026-11-29 02:13 UTC: Process exited with status code -9.",
        "| job | [nightly-1-a1](http://ray/#/jobs/1) |",
        "| log | tab *Logs* of the flow run, or `hanclip jobs logs x` |",
        "(/artifacts/artifact/1) |",
    ):
        assert line in page


def test_progress_is_reported_as_a_fraction_and_a_description():
    stats = Stats(embedded=90, quarantined=Counter(timeout=10))
    run = Progress("r", "running", rows_planned=200, stats=stats, records_per_s=20.0, eta_s=5.0)
    progress = JobProgress("j", "running", 1, 4, run)
    assert fraction(progress) == pytest.approx(0.375)
    assert describe(progress) == "run 2 of 4: running, 100 of 200 records, 20.0 records/s, 5.0 s left"
    assert describe(replace(progress, progress=replace(run, waiting_for="an embedder"))).endswith("for an embedder")
    assert fraction(JobProgress("j", "running", 0, 1, None)) == 0
    assert fraction(replace(progress, state="complete")) == 1
