"""Summaries of runs that did not end by themselves, and the levels of a driver's log lines."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed

from flows.facts.flow_run import FlowOutcome
from flows.scheduled.outcome import by_state, failed, interrupted, started

PARAMETERS = {"config": {"source": {"uris": ["s3://shop/a/", "s3://shop/b/"]}, "output": {"uri": "s3://out"}}}
BEFORE = started("nightly", PARAMETERS)
DURING = replace(BEFORE, job_id="nightly-1-a1", progress="32 %")


@pytest.mark.parametrize(
    ("base", "state", "outcome", "headline", "reason", "next_step"),
    [
        (DURING, Cancelled(message="By me."), FlowOutcome.CANCELLED, "Cancelled; data incomplete", "By me.", "Nothing"),
        (BEFORE, Cancelling(), FlowOutcome.CANCELLED, "Cancelled; data unchanged", "", "Nothing"),
        (DURING, Crashed(message="-9"), FlowOutcome.CRASHED, "Crashed; data not known yet", "-9", "Wait: `reap`"),
        (BEFORE, Crashed(message="-9"), FlowOutcome.CRASHED, "Crashed; data unchanged", "-9", "Wait: `reap`"),
        (
            *(BEFORE, Failed(message="Flow run encountered an exception: TypeError: no."), FlowOutcome.FAILED),
            *("Failed; data unchanged", "no.", "Remove the cause"),
        ),
    ],
)
def test_runs_that_did_not_end_by_themselves(base, state, outcome, headline, reason, next_step):
    summary = interrupted(base, state)
    assert (summary.outcome, summary.headline, summary.reason) == (outcome, headline, reason)
    assert summary.next_step.startswith(next_step)
    assert (summary.source, summary.out) == ("s3://shop/a/, s3://shop/b/", "s3://out")


def test_a_run_of_reap_shows_what_it_did_or_could_not_do():
    base = started("reap", {})
    done = by_state(base, Completed(message="3 jobs alive, 1 stopped"))
    assert (done.outcome, done.message, done.next_step) == ("complete", "3 jobs alive, 1 stopped", "Nothing.")
    failed = by_state(base, Failed(message="1 job not stopped"))
    assert (failed.outcome, failed.message) == ("failed", "1 job not stopped")
    assert interrupted(base, Crashed()).next_step.startswith("Nothing: the next scheduled run")


@pytest.mark.parametrize(
    ("base", "unclear", "headline"),
    [(BEFORE, False, "data unchanged"), (BEFORE, True, "data unknown"), (DURING, False, "data unknown")],
)
def test_an_error_of_the_flow_leaves_the_data_unknown_if_a_job_may_run(base, unclear, headline):
    assert failed(base, "The dashboard does not answer.", unclear).headline == f"Failed; {headline}"


def test_a_note_on_the_jobs_is_part_of_the_reason():
    assert interrupted(DURING, Cancelled(message="By me."), "Job x may run.").reason == "By me. Job x may run."


@pytest.mark.parametrize("parameters", [{}, {"config": {"source": {"urls": []}}}, {"config": 3, "out": 3}])
def test_a_run_with_invalid_parameters_has_a_summary(parameters):
    assert started("embed", parameters).outcome is FlowOutcome.RUNNING
    assert (
        interrupted(started("embed", parameters), Failed(message="Validation failed.")).reason == "Validation failed."
    )


def test_addresses_are_shown_without_their_passwords():
    config = {"source": {"uris": ["s3://user:secret@shop/a/"]}, "output": {"uri": "s3://out"}}
    assert "secret" not in started("embed", {"config": config}).source
    assert "secret" not in started("dedup", {"out": "s3://user:secret@shop/a/"}).out
