"""Reviving flow runs on a real server: heartbeats that are late, doubled, out of order or missing, in every state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from uuid import UUID, uuid4

import pytest

from flows.scheduled.revival.judge import Action
from pipeline.errors import RunError
from tests.fixtures.heartbeats import KILLED, QUICK, WrittenRuns, look

#: Each limit of `QUICK`.
LONG_S = 4.0
RUNNING = ("RUNNING", "Running", "")
PENDING = ("PENDING", "Pending", "")


@pytest.fixture
def runs(prefect_here) -> Iterator[WrittenRuns]:
    """Runs of a deployment that nobody serves."""
    from flows.scheduled.embed import embed

    made = embed.to_deployment(f"revival-{uuid4().hex[:6]}", tags=["hanclip"])
    deployment_id = str(made.apply())
    yield WrittenRuns(prefect_here, deployment_id)
    for flow_run in prefect_here.flow_runs(deployment_id={"any_": [deployment_id]}):
        prefect_here.call("DELETE", f"/flow_runs/{flow_run['id']}")
    prefect_here.call("DELETE", f"/deployments/{deployment_id}")


def test_only_the_dead_are_revived_whenever_heartbeats_arrive(runs: WrittenRuns):
    over = [
        runs.make(RUNNING, ("COMPLETED", "Completed", "rows in 3 = 3 embedded")),
        runs.make(RUNNING, ("FAILED", "Failed", "too much in quarantine")),
        runs.make(RUNNING, ("FAILED", "TimedOut", "")),
        runs.make(RUNNING, ("CANCELLED", "Cancelled", "")),
        runs.make(RUNNING, ("CRASHED", "Crashed", "a person did this")),
    ]
    waiting = [runs.make()]
    silent, mute, alive, behind = (runs.make(RUNNING) for _ in range(4))
    crashed = runs.make(RUNNING, ("CRASHED", "Crashed", KILLED))
    pending = runs.make(PENDING)
    cancelling = runs.make(RUNNING, ("CANCELLING", "Cancelling", ""))
    before = {flow_run_id: runs.state(flow_run_id) for flow_run_id in [*over, *waiting, alive, behind]}

    # Heartbeats of runs that are over: late, out of order, and one of them twice.
    twice = str(uuid4())
    for late_s in (1.0, 3.5, 2.0):
        runs.beat(*over, silent, late_s=late_s)
    for _ in range(2):
        runs.beat(over[0], event_id=twice)
    with runs.beating(alive, every_s=0.5), runs.beating(behind, every_s=0.5, late_s=7200.0):
        runs.outlast(cancelling, LONG_S)
        dry = look(dry_run=True)
        first = look()
        runs.beat(*over, late_s=10.0)
        second = look()

    expected = {silent, mute, crashed, pending}
    mine = {*before, *expected, cancelling}
    assert {key: first[key] for key in mine & first.keys()} == {
        **dict.fromkeys(expected, Action.REVIVE),
        cancelling: Action.CANCEL,
    }
    assert mine & dry.keys() == mine & first.keys()
    assert not second.keys() & first.keys()
    assert {flow_run_id: runs.state(flow_run_id) for flow_run_id in before} == before
    for flow_run_id in expected:
        name, message = runs.state(flow_run_id)
        assert (name, message.partition(":")[0], runs.starts(flow_run_id)) == ("AwaitingRetry", "Revival 1 of 3", 2)
    assert runs.state(crashed)[1] == f"Revival 1 of 3: {KILLED}"
    assert "Pending for" in runs.state(pending)[1]
    assert runs.state(cancelling)[0] == "Cancelled"
    assert runs.server.artifacts(cancelling)["embed-summary"]["description"] == "Cancelled; data unchanged"
    assert [runs.starts(flow_run_id) for flow_run_id in before] == [1] * len(before)


def test_the_page_says_how_often_and_why_and_the_fourth_time_is_the_last(runs: WrittenRuns):
    flow_run_id = runs.make()
    for number in range(1, 4):
        runs.set(flow_run_id, *RUNNING)
        runs.set(flow_run_id, "CRASHED", "Crashed", KILLED)
        # Two watchers at once revive it once. The last round has one: tag, label and table may lag behind two writers.
        with ThreadPoolExecutor(2) as pool:
            looks = [pool.submit(copy_context().run, look) for _ in range(2 if number < 3 else 1)]
            [one.result() for one in looks]
        assert runs.state(flow_run_id) == ("AwaitingRetry", f"Revival {number} of 3: {KILLED}")
        assert runs.starts(flow_run_id) == number + 1
    flow_run = runs.server.flow_run(flow_run_id)
    assert "revived" in flow_run["tags"]
    assert flow_run["labels"]["hanclip.revivals"] == 3
    rows = json.loads(runs.server.artifacts(flow_run_id)["revivals"]["data"])
    assert [(row["revival"], row["why"]) for row in rows] == [(number, KILLED) for number in (1, 2, 3)]

    runs.set(flow_run_id, *RUNNING)
    runs.set(flow_run_id, "CRASHED", "Crashed", KILLED)
    assert look()[flow_run_id] is Action.FAIL
    name, message = runs.state(flow_run_id)
    assert (name, runs.starts(flow_run_id)) == ("Failed", 4)
    assert message.endswith("then run the deployment again. Embedded records are kept.")
    summary = runs.server.artifacts(flow_run_id)["embed-summary"]
    assert summary["description"] == "Failed; data unchanged"
    assert message in summary["data"]
    assert summary["data"].count(f"Revival {number} of 3: {KILLED}") == 1


@pytest.mark.parametrize("name", ["Completed", "Failed", "Cancelled"])
def test_a_run_that_ends_while_it_is_judged_keeps_its_end(runs: WrittenRuns, name: str):
    from prefect.client.orchestration import get_client
    from prefect.states import AwaitingRetry, Crashed

    from flows.scheduled.revival.transition import move, restored

    flow_run_id = runs.make(RUNNING)
    with get_client(sync_client=True) as client:
        key = UUID(flow_run_id)
        judged = client.read_flow_run(key).state
        runs.set(flow_run_id, name.upper(), name, "the end")
        assert not move(client, key, judged, Crashed())
        # The server itself refuses the first step, so that even a request in the last moment ends nothing twice.
        assert client.set_flow_run_state(key, Crashed()).status.value == "ABORT"
        assert runs.state(flow_run_id) == (name, "the end")
        # The server would take the second step, which is why it is checked afterwards.
        made = client.set_flow_run_state(key, AwaitingRetry())
        assert runs.state(flow_run_id)[0] == "AwaitingRetry"
        assert restored(client, key, judged, made.state.id)
    assert runs.state(flow_run_id) == (name, "the end")


def test_an_old_pending_run_gives_its_slot_back(runs: WrittenRuns):
    limit = {"concurrency_limit": 1, "concurrency_options": {"collision_strategy": "CANCEL_NEW"}}
    runs.server.call("PATCH", f"/deployments/{runs.deployment_id}", limit)
    stuck = runs.make(PENDING)
    assert runs.state(runs.make(PENDING))[0] == "Cancelled", "the slot is taken"
    runs.outlast(stuck, LONG_S)
    assert look()[stuck] is Action.REVIVE
    assert runs.state(stuck)[0] == "AwaitingRetry"
    assert runs.state(runs.make(PENDING))[0] == "Pending"


def test_without_stored_events_no_silent_run_is_judged_but_crashes_are(runs: WrittenRuns, monkeypatch):
    from flows.scheduled.revival import watch

    def unstored(client: object) -> None:
        raise RunError("stores no events")

    silent = runs.make(RUNNING)
    crashed = runs.make(RUNNING, ("CRASHED", "Crashed", KILLED))
    runs.outlast(crashed, LONG_S)
    monkeypatch.setattr(watch, "require_stored_events", unstored)
    with pytest.raises(RunError, match="stores no events"):
        look()
    assert (runs.state(silent)[0], runs.state(crashed)[0]) == ("Running", "AwaitingRetry")


def test_a_run_without_a_deployment_is_ended_and_not_restarted(prefect_here):
    from flows.scheduled.embed import embed

    flow_id = prefect_here.call("POST", "/flows/", {"name": embed.name})["id"]
    made = {"flow_id": flow_id, "tags": ["hanclip"], "state": {"type": "RUNNING"}}
    flow_run_id = prefect_here.call("POST", "/flow_runs/", made)["id"]
    WrittenRuns(prefect_here).outlast(flow_run_id, LONG_S)
    assert look()[flow_run_id] is Action.CRASH
    assert prefect_here.flow_run(flow_run_id)["state"]["name"] == "Crashed"
    assert flow_run_id not in look()
    prefect_here.call("DELETE", f"/flow_runs/{flow_run_id}")


def test_reap_lists_what_it_did_and_leaves_its_own_dead_runs_to_the_schedule(runs: WrittenRuns, prefect_here):
    from flows.jobs.target import TargetConfig
    from flows.scheduled.reap import reap

    mine = reap.to_deployment(f"revival-{uuid4().hex[:6]}", tags=["hanclip"])
    watching = WrittenRuns(prefect_here, str(mine.apply()))
    dead = watching.make(RUNNING, ("CRASHED", "Crashed", KILLED))
    crashed = runs.make(RUNNING, ("CRASHED", "Crashed", KILLED))
    state = reap(TargetConfig(), revival=QUICK, return_state=True)
    assert state.name == "Completed"
    assert "started again; 0 jobs alive, 0 stopped" in state.message
    shown = prefect_here.artifacts(str(state.state_details.flow_run_id))["reap-runs"]["data"]
    rows = {row["id"]: (row["what"], row["why"]) for row in json.loads(shown)}
    assert rows[crashed] == ("started again", KILLED)
    assert dead not in rows
    assert watching.state(dead) == ("Crashed", KILLED)
    prefect_here.call("DELETE", f"/deployments/{watching.deployment_id}")
