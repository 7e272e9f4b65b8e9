"""The revivals of a flow run, read from its states: how many, when and why.

The states are the only record. They are append-only and have the server's time; tags, labels and artifacts repeat it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from prefect.client.schemas.objects import State, StateType

_MESSAGE = re.compile(r"Revival (\d+) of \d+: (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Revival:
    """One revival: the state that started the flow run again."""

    at: datetime
    reason: str


def revival_message(number: int, most: int, reason: str) -> str:
    """`Revival 1 of 3: Process exited with status code: -9`: the message of the state that revives a flow run."""
    return f"Revival {number} of {most}: {reason}"


def revivals(states: Iterable[State]) -> list[Revival]:
    """All revivals among the states of a flow run, oldest first."""
    found: list[Revival] = []
    scheduled = False
    for state in sorted(states, key=lambda state: state.timestamp):
        match = _MESSAGE.match(state.message or "")
        # Two watchers at once may both schedule a run; it starts once.
        if match and state.type is StateType.SCHEDULED and not scheduled:
            found.append(Revival(state.timestamp, match[2]))
        scheduled = state.type is StateType.SCHEDULED
    return found


def cancel_requested(states: Iterable[State]) -> bool:
    """Whether the cancellation of a flow run was requested since it was last scheduled."""
    requested = False
    for state in sorted(states, key=lambda state: state.timestamp):
        requested = state.type is StateType.CANCELLING or (requested and state.type is not StateType.SCHEDULED)
    return requested
