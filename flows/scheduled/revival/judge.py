"""Decides what to do about a flow run from its state and its last sign of life. Pure: no clock, no server.

    Running and silent, Pending for too long    -> crash, then judged again as Crashed
    Crashed because its process ended           -> revive, a bounded number of times, then fail
    Cancelling for too long and silent          -> cancel
    everything else                             -> leave

All moments are by the server's clock. No state that a person set is changed, nor is any other final state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from prefect.client.schemas.objects import StateType

from flows.scheduled.revival.policy import RevivalPolicy
from flows.terminal import figures

#: Longer gaps between heartbeats are outages rather than another interval.
_LONGEST_INTERVAL = 5
_SILENT = "No sign of life for"
_PENDING = "Pending for"
#: Beginnings of the messages with which Prefect reports that a process ended or could not be started. A crash with
#: any other message was set by a person, or followed a cancellation.
_PROCESS_ENDED = (
    "Process exited with status code",
    "Flow run process exited with non-zero status code",
    "Flow run process could not be started",
    "Flow run infrastructure exited with non-zero status code",
    "Flow run could not start",
    "Flow run execution failed",
    "Failed to submit flow run to infrastructure",
    "No active or succeeded pods found",
    "Execution was ",
    "Request to ",
    "Request failed while attempting to contact the server",
    _SILENT,
    _PENDING,
)


class Action(StrEnum):
    """What to do about a flow run."""

    LEAVE = "leave"
    CRASH = "crash"
    REVIVE = "revive"
    FAIL = "fail"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Decision:
    """An action, and the reason as it appears in the state's message."""

    action: Action
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Signs:
    """Signs of life of a flow run since it entered its state.

    Attributes:
        heartbeats: how many heartbeats the server has stored for the flow run.
        last: arrival of the last sign; None if there was none.
        interval_s: the usual time between heartbeats; None if it is not known yet.
        heard: whether a heartbeat arrived in this state.
    """

    heartbeats: int = 0
    last: datetime | None = None
    interval_s: float | None = None
    heard: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A flow run as the server knows it.

    Attributes:
        state: type of its state.
        since: when it entered that state.
        message: message of that state.
        signs: signs of life since then.
        revivals: how often it was revived within the policy's window.
        restartable: whether it has a deployment, and no later run does its work.
        cancelled: whether its cancellation was requested since its last start.
    """

    state: StateType
    since: datetime
    message: str = ""
    signs: Signs = field(default_factory=Signs)
    revivals: int = 0
    restartable: bool = True
    cancelled: bool = False


_LEAVE = Decision(Action.LEAVE)


def judge(seen: Seen, now: datetime, policy: RevivalPolicy) -> Decision:
    """What to do about a flow run at `now`."""
    age_s = (now - seen.since).total_seconds()
    silence_s = (now - max(seen.since, seen.signs.last or seen.since)).total_seconds()
    silent = silence_s >= silence_limit_s(seen.signs, policy)
    if seen.state is StateType.RUNNING and silent:
        return Decision(Action.CRASH, f"{_SILENT} {figures.duration(silence_s)}: its process or machine is gone.")
    if seen.state is StateType.PENDING and age_s >= policy.pending_s:
        return Decision(Action.CRASH, f"{_PENDING} {figures.duration(age_s)}: its process never started.")
    if seen.state is StateType.CANCELLING and silence_s >= policy.cancelling_s:
        return Decision(Action.CANCEL, f"Cancelling for {figures.duration(age_s)}, and its process is gone.")
    if seen.state is StateType.CRASHED and age_s < policy.window_s:
        return _after_crash(seen, policy)
    return _LEAVE


def silence_limit_s(signs: Signs, policy: RevivalPolicy) -> float:
    """After how many seconds without a sign a flow run is silent. A pool may send heartbeats more rarely."""
    if not signs.heard:
        return policy.mute_s
    interval_s = max(policy.heartbeat_s, signs.interval_s or 0.0)
    return policy.missed_heartbeats * min(interval_s, _LONGEST_INTERVAL * policy.heartbeat_s)


def _after_crash(seen: Seen, policy: RevivalPolicy) -> Decision:
    if seen.cancelled or not seen.restartable or not seen.message.startswith(_PROCESS_ENDED):
        return _LEAVE
    if seen.revivals < policy.most:
        return Decision(Action.REVIVE, seen.message)
    return Decision(
        Action.FAIL,
        f"Not started again: its process died {seen.revivals + 1} times within {figures.duration(policy.window_s)},"
        f" the last time with: {seen.message} Check the log of the runner or worker (out of memory?), then run the"
        " deployment again. Embedded records are kept.",
    )
