"""When a flow run counts as dead, and what is done about it: the rules alone, without a server or a clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prefect.client.schemas.objects import State, StateType

from flows.scheduled.revival.history import cancel_requested, revival_message, revivals
from flows.scheduled.revival.judge import Action, Decision, Seen, Signs, judge
from flows.scheduled.revival.policy import RevivalPolicy

NOW = datetime(2026, 11, 29, 4, 30, tzinfo=UTC)
POLICY = RevivalPolicy()
KILLED = "Process exited with status code: -9. Killed"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def seen(state: StateType, age_s: float, heard_s: float | None = None, **more: object) -> Seen:
    """A flow run in a state for `age_s`, last heard `heard_s` ago."""
    signs = Signs() if heard_s is None else Signs(heartbeats=9, last=ago(heard_s), interval_s=60.0, heard=True)
    return replace(Seen(state=state, since=ago(age_s), signs=signs), **more)


def action(of: Seen, policy: RevivalPolicy = POLICY) -> Action:
    return judge(of, NOW, policy).action


@pytest.mark.parametrize("state", [StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED])
@pytest.mark.parametrize("heard_s", [None, 0.0, 5.0, 100_000.0, -3600.0])
def test_a_run_that_is_over_stays_over_whatever_was_heard_of_it(state: StateType, heard_s: float | None) -> None:
    for age_s in (0.0, 300.0, 1e6):
        assert judge(seen(state, age_s, heard_s, message=KILLED), NOW, POLICY) == Decision(Action.LEAVE)


@pytest.mark.parametrize("state", [StateType.SCHEDULED, StateType.PAUSED])
def test_a_run_that_waits_is_left_alone(state: StateType) -> None:
    assert action(seen(state, 1e6)) is Action.LEAVE


@pytest.mark.parametrize(
    ("age_s", "heard_s", "interval_s", "expected"),
    [
        (10_000.0, 179.0, 60.0, Action.LEAVE),
        (10_000.0, 181.0, 60.0, Action.CRASH),
        # It has just started, however old the heartbeats of its previous process are.
        (100.0, 5000.0, 60.0, Action.LEAVE),
        # Its pool sends heartbeats every three minutes, the default of Prefect.
        (10_000.0, 500.0, 180.0, Action.LEAVE),
        (10_000.0, 541.0, 180.0, Action.CRASH),
        # A gap of an hour was an outage, not an interval.
        (10_000.0, 899.0, 3600.0, Action.LEAVE),
        (10_000.0, 901.0, 3600.0, Action.CRASH),
        # Only one heartbeat so far, or several at once.
        (10_000.0, 181.0, None, Action.CRASH),
        (10_000.0, 170.0, 0.001, Action.LEAVE),
        # A heartbeat that arrived after this look at the server's clock.
        (10_000.0, -2.0, 60.0, Action.LEAVE),
    ],
)
def test_a_running_one_is_dead_when_three_heartbeats_are_missing(
    age_s: float, heard_s: float, interval_s: float | None, expected: Action
) -> None:
    of = seen(StateType.RUNNING, age_s, heard_s)
    assert action(replace(of, signs=replace(of.signs, interval_s=interval_s))) is expected


def test_a_running_one_that_was_never_heard_is_given_more_time() -> None:
    assert [action(seen(StateType.RUNNING, age_s)) for age_s in (200.0, 899.0, 901.0)] == [
        Action.LEAVE,
        Action.LEAVE,
        Action.CRASH,
    ]
    # Its page was updated a minute ago: only the way of the heartbeats is blocked.
    shows = replace(seen(StateType.RUNNING, 5000.0), signs=Signs(last=ago(60)))
    assert action(shows) is Action.LEAVE


def test_pending_and_cancelling_end_after_their_time() -> None:
    pending = [judge(seen(StateType.PENDING, age_s), NOW, POLICY) for age_s in (890.0, 910.0)]
    assert pending == [
        Decision(Action.LEAVE),
        Decision(Action.CRASH, "Pending for 15 min 10 s: its process never started."),
    ]
    cancelling = [action(seen(StateType.CANCELLING, 2000.0, heard_s)) for heard_s in (500.0, 700.0, None)]
    assert cancelling == [Action.LEAVE, Action.CANCEL, Action.CANCEL]


@pytest.mark.parametrize(
    "message",
    [
        KILLED,
        "Flow run process exited with non-zero status code -9.",
        "Flow run infrastructure exited with non-zero status code 137. Out of memory",
        "Execution was aborted by a termination signal.",
        "Request to http://prefect:4200/api/flow_runs failed: ConnectError",
        "No sign of life for 4 min 00 s: its process or machine is gone.",
        "Pending for 15 min 10 s: its process never started.",
    ],
)
def test_a_crash_of_the_process_is_revived_a_bounded_number_of_times(message: str) -> None:
    crashed = seen(StateType.CRASHED, 5.0, message=message)
    assert judge(crashed, NOW, POLICY) == Decision(Action.REVIVE, message)
    assert action(replace(crashed, revivals=2)) is Action.REVIVE
    failed = judge(replace(crashed, revivals=3), NOW, POLICY)
    assert failed.action is Action.FAIL
    assert "4 times within 24 h" in failed.reason
    assert message in failed.reason
    assert "run the deployment again" in failed.reason
    assert action(crashed, RevivalPolicy(most=0)) is Action.FAIL


@pytest.mark.parametrize(
    "changes",
    [
        {"message": ""},
        {"message": "this night must not run"},
        {"message": "Flow run process exited after a cancellation request, but the runner could not persist it."},
        {"cancelled": True},
        {"restartable": False},
        {"since": ago(90_000)},
    ],
    ids=str,
)
def test_any_other_crash_is_left_alone(changes: dict[str, object]) -> None:
    assert action(replace(seen(StateType.CRASHED, 5.0, message=KILLED), **changes)) is Action.LEAVE


def states(*types: StateType | str) -> list[State]:
    """States a second apart; a text is the message of a scheduled one."""
    made = []
    for number, one in enumerate(types):
        given = (StateType.SCHEDULED, one) if not isinstance(one, StateType) else (one, "")
        made.append(State(type=given[0], message=given[1], timestamp=ago(100 - number)))
    return made


def test_revivals_are_counted_from_the_states() -> None:
    first, second = revival_message(1, 3, KILLED), revival_message(2, 3, "Pending for 1 h 00 min:\nits pod is gone")
    crash = (StateType.RUNNING, StateType.CRASHED)
    history = states("", *crash, first, *crash, second)
    found = revivals(reversed(history))
    assert [one.reason for one in found] == [KILLED, "Pending for 1 h 00 min:\nits pod is gone"]
    assert [one.at for one in found] == [ago(97), ago(94)]
    assert len(revivals(states("", *crash, first, first, *crash))) == 1, "two watchers at once start it once"
    assert revivals(states("Retry from the UI", StateType.RUNNING)) == []


def test_a_cancellation_counts_until_the_run_is_scheduled_again() -> None:
    stopped = [StateType.RUNNING, StateType.CANCELLING, StateType.CRASHED]
    assert cancel_requested(states("", *stopped))
    assert not cancel_requested(states("", *stopped, "", StateType.RUNNING, StateType.CRASHED))
    assert not cancel_requested(states("", StateType.RUNNING))
